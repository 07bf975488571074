// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"hash/maphash"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// searchDepth is how many moves TestEveryInterleavingOfTwoManagersKeepsThePromise looks ahead, unless the environment variable of this
// name says otherwise: each further move costs more than twice as much.
const (
	searchDepth      = 11
	searchDepthByEnv = "MODEL_SEARCH_DEPTH"
)

// A modelMove is one of the choices in the small world: a step of a manager, with or without a fault, its crash, or time.
type modelMove struct {
	name string
	do   func(*modelWorld)
}

// moves lists what may happen next. Only faults that make a difference to the next step are tried.
func (w *modelWorld) moves() []modelMove {
	moves := []modelMove{{"time passes until an attempt settles", func(w *modelWorld) { w.elapse(modelPatience + modelLag + time.Second) }}}
	for p := range w.processes {
		stage := w.procs[p].flights[0].stage
		step := func(name string, fresh bool, fault modelFault) {
			moves = append(moves, modelMove{fmt.Sprintf("manager %d: stage %d, %s", p, stage, name), func(w *modelWorld) {
				if fresh {
					w.sync(p, 0, true, true)
				}
				w.step(p, 0, fault)
			}})
		}
		if stage == stageIdle {
			step("looks, up to date", true, faultNone)
			if w.procs[p].view[0] != w.certs[0] || w.procs[p].secretViews != w.secrets {
				step("looks at what it remembers", false, faultNone)
			}
			continue
		}
		step("goes on", false, faultNone)
		switch stage {
		case stageIntent, stageStore, stageConclude:
			step("its call is lost", false, faultBefore)
			step("the answer is lost", false, faultAfter)
		case stageSend:
			step("the vendor's answer is lost", false, vendorLosesAnswer)
			step("the vendor is slow", false, vendorSlow)
			step("the vendor refuses", false, vendorRefuses)
			step("the answer cannot be used", false, vendorUnusable)
		case stageRevokeOrphan:
			step("the answer is lost", false, faultAfter)
		}
		moves = append(moves, modelMove{fmt.Sprintf("manager %d crashes", p), func(w *modelWorld) { w.restart(p, false) }})
	}
	return moves
}

// signature is equal for worlds that go on alike.
func (w *modelWorld) signature(seed maphash.Seed) uint64 {
	b := make([]byte, 0, 1024)
	b = fmt.Appendf(b, "%d,%d;", w.mono/time.Second, w.attempts)
	if c := w.certs[0]; c != nil {
		b = appendStatus(b, &c.Status)
	}
	for _, s := range w.secrets[:1] {
		if s != nil {
			b = fmt.Appendf(b, "secret %s %s;", s.serial, s.attemptID)
		}
	}
	for _, line := range w.ledger {
		b = fmt.Appendf(b, "line %s %t %t %d;", line.attempt, line.revoked, line.uncommitted, line.visibleAt/time.Second)
	}
	for p := range w.processes {
		pr := &w.procs[p]
		f, m := &pr.flights[0], &pr.memory[0]
		b = fmt.Appendf(b, "p %t %t;", pr.view[0] == w.certs[0], pr.secretViews == w.secrets)
		if pr.view[0] != nil && pr.view[0] != w.certs[0] {
			b = appendStatus(b, &pr.view[0].Status)
		}
		b = fmt.Appendf(b, "m %s %d %d %d %t %t;", m.attempt, m.attemptSeen/time.Second, m.notBefore/time.Second, m.stumbles, m.distrusted, m.read)
		b = append(b, m.facts.AttemptID...)
		if f.stage == stageIdle {
			continue
		}
		b = fmt.Appendf(b, "f %d %d %d %d %d %s %s %s;", f.stage, f.edit, f.answer, f.intentAt/time.Second, f.concludeEnd/time.Second, f.attemptID(), f.plan.Action, f.content.serial)
		b = fmt.Appendf(b, "%t %t %d %d %d;", w.certs[0] != nil && f.cert.ResourceVersion == w.certs[0].ResourceVersion, f.direct, len(f.orphans), len(f.proven), len(f.found))
		b = append(append(b, f.secret.AttemptID...), f.target.AttemptID...)
		b = strconv.AppendBool(b, w.secrets[0] == nil || f.secret.version == w.secrets[0].version)
	}
	return maphash.Bytes(seed, b)
}

func appendStatus(b []byte, s *v1alpha1.DeviceCertificateStatus) []byte {
	if a := s.Attempt; a != nil {
		b = fmt.Appendf(b, "attempt %s %s %s %d;", a.ID, a.CertificateID, a.Failure, a.StartedAt.Unix())
	}
	if f := s.Failures; f != nil {
		b = fmt.Appendf(b, "failures %d %d %s;", f.Count, f.NextTime.Unix(), f.Reason)
	}
	for _, o := range s.Orphans {
		b = fmt.Appendf(b, "orphan %s %s %s;", o.AttemptID, o.CertificateID, o.Outcome)
	}
	for _, c := range s.Conditions {
		b = append(append(b, c.Type...), c.Reason...)
	}
	return append(b, s.SerialNumber...)
}

// searchNode is a world and the way to it.
type searchNode struct {
	world *modelWorld
	from  *searchNode
	move  string
}

func (n *searchNode) path() (moves string) {
	for ; n.from != nil; n = n.from {
		moves = "\n" + n.move + moves
	}
	return moves
}

// TestEveryInterleavingOfTwoManagersKeepsThePromise tries, breadth first, everything that two managers may do with one certificate, with
// crashes and lost answers anywhere, and brings each world that is reached to rest.
func TestEveryInterleavingOfTwoManagersKeepsThePromise(t *testing.T) {
	depth := searchDepth
	if v, err := strconv.Atoi(os.Getenv(searchDepthByEnv)); err == nil {
		depth = v
	}
	for _, policy := range []v1alpha1.OrphanPolicy{v1alpha1.OrphansReport, v1alpha1.OrphansRevoke} {
		t.Run(string(policy), func(t *testing.T) {
			states := searchAll(t, modelConfig{objects: 1, processes: 2, policy: policy}, depth)
			t.Logf("%d worlds within %d moves", states, depth)
		})
	}
}

func searchAll(t *testing.T, config modelConfig, depth int) int {
	t.Helper()
	seed := maphash.MakeSeed()
	seen := map[uint64]struct{}{}
	frontier := []*searchNode{{world: newModelWorld(config)}}
	for range depth {
		var next []*searchNode
		for _, n := range frontier {
			for _, move := range n.world.moves() {
				w := n.world.clone()
				move.do(w)
				w.check()
				reached := &searchNode{world: w, from: n, move: move.name}
				if w.problem != "" {
					t.Fatalf("%s%s", w.problem, reached.path())
				}
				key := w.signature(seed)
				if _, known := seen[key]; known {
					continue
				}
				seen[key] = struct{}{}
				next = append(next, reached)
				if rest := w.clone(); len(seen)%8 == 0 { // bringing to rest costs more than a move
					if rest.converge(); rest.problem != "" {
						t.Fatalf("%s, after%s", rest.problem, reached.path())
					}
				}
			}
			n.world = nil // only the way to it is still needed
		}
		frontier = next
	}
	return len(seen)
}
