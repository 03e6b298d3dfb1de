// Package alertmanager holds Holdfast's ways of alerts in and out against a real
// Alertmanager, Debian's, with its own tool. Its tests are those of the lab
// stage: they need the packages of deploy/packages.txt.
//
//	go test -tags lab ./test/alertmanager -record
//
// writes what that Alertmanager and amtool have sent into the test data of
// internal/alert/in, where the unit tests read it.
package alertmanager
