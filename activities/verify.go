package activities

import (
	"context"
	"time"

	"holdfast/internal/contract"
)

// verifyEvery is how often a VM under verification is looked at.
const verifyEvery = 250 * time.Millisecond

// Verify watches a VM until it has stayed running for the given time, or is
// found not to run. The time counts from the first look of this attempt.
func (a *Activities) Verify(ctx context.Context, in contract.VerifyInput) (contract.VerifyResult, error) {
	h, err := a.host(in.Host)
	if err != nil {
		return contract.VerifyResult{}, err
	}
	defer keepAlive(ctx)()
	began := time.Now()
	for {
		found := a.look(ctx, h, in.VM.UUID)
		out := contract.VerifyResult{Found: found.Sighting, Active: found.Active, At: time.Now().UTC()}
		switch {
		case found.Error != "":
			return out, unreachable(in.Host, found.Error)
		case !running(found):
			return out, nil
		case time.Since(began) >= in.StableFor:
			out.OK = true
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(min(verifyEvery, max(in.StableFor-time.Since(began), 0))):
		}
	}
}
