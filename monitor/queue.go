package monitor

import (
	"container/heap"
	"time"
)

// entry is a parcel and whose it is.
type entry struct {
	slot   string
	parcel *parcel
}

// queue orders parcels by when they are due.
type queue []entry

// has tells a parcel that waits here from one that never did.
func (q queue) has(p *parcel) bool { return p.index < len(q) && q[p.index].parcel == p }

// set puts p in for that time, or moves it there.
func (q *queue) set(slot string, p *parcel, at time.Time) {
	p.next = at
	if q.has(p) {
		heap.Fix(q, p.index)
		return
	}
	heap.Push(q, entry{slot, p})
}

// drop takes p out, if it is in.
func (q *queue) drop(p *parcel) {
	if q.has(p) {
		heap.Remove(q, p.index)
	}
}

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].parcel.next.Before(q[j].parcel.next) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].parcel.index, q[j].parcel.index = i, j
}

// Push and Pop are for container/heap.
func (q *queue) Push(x any) {
	e := x.(entry)
	e.parcel.index = len(*q)
	*q = append(*q, e)
}

// Pop takes the last entry off.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = entry{}
	*q = old[:len(old)-1]
	return last
}
