// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

// turns lets the namespaces that share an account take turns with their first certificates: the n-th request of a namespace that waits
// comes after the (n-1)-th of every other. So ten thousand orders of one tenant delay another's single one by one, not by ten
// thousand. Renewals go by expiry alone.
type turns struct {
	// round is that of the last first certificate that was let through.
	round uint64
	// queues are those of the namespaces that wait.
	queues map[string]*turnQueue
}

type turnQueue struct {
	// last is the round of the namespace's last request; waiting counts its requests.
	last    uint64
	waiting int
}

// take gives a waiter its round, once.
func (t *turns) take(w *waiter) {
	if w.turn.taken {
		return
	}
	if t.queues == nil {
		t.queues = map[string]*turnQueue{}
	}
	q, ok := t.queues[w.Key.Namespace]
	if ok {
		q.last = max(t.round, q.last+1)
	} else {
		q = &turnQueue{last: t.round}
		t.queues[w.Key.Namespace] = q
	}
	q.waiting++
	w.turn = turn{round: q.last, taken: true, waiting: true}
}

// serve notes that a waiter is let through.
func (t *turns) serve(w *waiter) {
	t.leave(w)
	if w.Expires.IsZero() {
		t.round = max(t.round, w.turn.round)
	}
}

// leave forgets a waiter. A namespace in which nobody waits any more begins anew.
func (t *turns) leave(w *waiter) {
	q, ok := t.queues[w.Key.Namespace]
	if !ok || !w.turn.waiting {
		return
	}
	w.turn.waiting = false
	if q.waiting--; q.waiting == 0 {
		delete(t.queues, w.Key.Namespace)
	}
}

// turn is a waiter's place among the namespaces.
type turn struct {
	round          uint64
	taken, waiting bool
}

// ahead is how many rounds a waiter is ahead of its account, which makes those of different accounts comparable.
func (w *waiter) ahead() int64 {
	return int64(w.turn.round) - int64(w.lane.account.turns.round)
}
