// Package arch holds the rules of the source tree that no compiler holds: who
// may import whom, how long a file may get, where time may be read, and that
// every dependency is accounted for.
//
// The linter shows the same import rules earlier, file by file; here they hold
// for what is reached indirectly too. Each rule is also tried on a case that
// breaks it, so that a rule which no longer catches anything fails.
package arch
