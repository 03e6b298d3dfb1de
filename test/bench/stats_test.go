//go:build bench

// Package bench measures how fast Holdfast repairs, beside the same done by
// hand in the same run. Run it with `make bench`.
package bench

import "slices"

// quantile of the values, 0 <= q <= 1, nearest rank.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(values []float64) float64 { return quantile(values, 0.5) }
