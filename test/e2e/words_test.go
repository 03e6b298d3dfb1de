package e2e

import (
	"encoding/json"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
)

// climbed are the rungs that an incident has climbed, in their order.
func climbed(inc contract.Incident) (rungs []ladder.Rung) {
	for _, a := range inc.Attempts {
		rungs = append(rungs, a.Rung)
	}
	return rungs
}

func asJSON(v any) string {
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(out)
}
