// Package alert is what the ways of alerts in and out of Holdfast share: the
// mark on what Holdfast says itself, how a token is kept, and how foreign text
// is made fit to be shown. Package in takes alerts of others; package out sends
// Holdfast's own.
package alert

// Mark is the label on every alert that Holdfast sends, and MarkValue its value.
// An Alertmanager may route such an alert back to Holdfast; taken for news, it
// would open a fault that sends the next, and none would ever end.
const (
	Mark      = "source"
	MarkValue = "holdfast"
)
