package activities

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
)

// maxErrorText keeps what a hypervisor says readable and the history small: a
// failed start may quote pages of QEMU's log.
const maxErrorText = 300

// brief is an error's first line, cut to a length that fits a history.
func brief(err error) string {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	text = strings.TrimSpace(text)
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return text
}

func isNotFound(err error) bool { return errors.Is(err, hypervisor.ErrNotFound) }

// isUnanswered reports an error after which it is unknown whether the call took effect.
func isUnanswered(err error) bool {
	return errors.Is(err, hypervisor.ErrTimeout) || errors.Is(err, hypervisor.ErrUnreachable)
}

func notFound(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), contract.ErrTypeNotFound, nil)
}

func badInput(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), contract.ErrTypeBadInput, nil)
}

func startFailed(text string) error {
	return temporal.NewNonRetryableApplicationError(text, contract.ErrTypeStartFailed, nil)
}

func twoCopies(err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrTypeTwoCopies, nil)
}

// unreachable may be retried: the next attempt looks before it acts.
func unreachable(host, text string) error {
	return temporal.NewApplicationError(fmt.Sprintf("host %s: %s", host, text), contract.ErrTypeUnreachable)
}
