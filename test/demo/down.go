package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"holdfast/test/lab"
)

// down removes the demo, or what is left of one, and says what it found.
func (d *demo) down(ctx context.Context) (string, error) {
	stopped, err := d.stopDev(ctx)
	if err != nil {
		return "", err
	}
	_, err = lab.Open("", labName)
	hadLab := !errors.Is(err, lab.ErrNotFound)
	if _, err := lab.Down(ctx, "", labName); err != nil { // also what a broken one left
		return "", err
	}
	_, err = os.Stat(d.folder())
	hadFolder := !errors.Is(err, fs.ErrNotExist)
	if err := os.RemoveAll(d.folder()); err != nil {
		return "", err
	}
	if !stopped && !hadLab && !hadFolder {
		return "there is no demo", nil
	}
	return "the demo is gone: Holdfast and Temporal ended, hosts and VMs removed", nil
}
