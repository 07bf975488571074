// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// ErrNotConnected is returned by Call for an issuer without a usable connection. Nothing was sent.
var ErrNotConnected = errors.New("the issuer has no usable connection")

// queuedCall waits in its gate for a token and a slot.
type queuedCall struct {
	admitted chan struct{} // closed once it has both
}

// Call runs one request that buys nothing, such as a search or a revocation, as soon as there is a token and a slot for it. It goes
// also while the issuer is suspended, its circuit open or a profile blocked, and what becomes of it tells whether the issuer can be
// used. f must make exactly one request. The error is f's, ctx's, or ErrNotConnected.
func (r *Registry) Call(ctx context.Context, id ID, f func(context.Context, *trustmanager.Client) error) error {
	return r.call(ctx, id, verdictOf, f)
}

// call is Call with another reading of what the outcome says about the connection.
func (r *Registry) call(ctx context.Context, id ID, judge func(error) verdict, f func(context.Context, *trustmanager.Client) error) (err error) {
	a, g, err := r.queueCall(ctx, id)
	if err != nil {
		return err
	}
	client, epoch := r.callClient(a)
	outcome := verdict{neutral: true}
	defer func() { r.endCall(a, g, epoch, outcome) }()
	if client == nil {
		return fmt.Errorf("%s: %w", id, ErrNotConnected)
	}
	err = f(ctx, client)
	outcome = judge(err)
	return err
}

// queueCall waits for a token and a slot.
func (r *Registry) queueCall(ctx context.Context, id ID) (*account, *gate, error) {
	a, g, call := r.joinCalls(id)
	if call == nil {
		return nil, nil, fmt.Errorf("%s: %w", id, ErrNotConnected)
	}
	select {
	case <-call.admitted:
		return a, g, nil
	case <-ctx.Done():
		r.leaveCalls(a, g, call)
		return nil, nil, fmt.Errorf("%s: waiting for a turn within spec.limits: %w", id, ctx.Err())
	}
}

func (r *Registry) joinCalls(id ID) (*account, *gate, *queuedCall) {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok || a.gate == nil {
		return nil, nil, nil
	}
	call := &queuedCall{admitted: make(chan struct{})}
	a.calls++
	g := a.gate
	g.calls = append(g.calls, call)
	r.dispatch(g)
	return a, g, call
}

// leaveCalls gives up waiting; a token that was given at the same moment goes to the next.
func (r *Registry) leaveCalls(a *account, g *gate, call *queuedCall) {
	r.mu.Lock()
	defer r.release()
	a.calls--
	before := len(g.calls)
	g.calls = slices.DeleteFunc(g.calls, func(other *queuedCall) bool { return other == call })
	if len(g.calls) == before {
		g.leave(true)
	}
	r.dispatch(g)
}

// callClient is the client at the moment the call goes: while it waited the credential may have been rotated.
func (r *Registry) callClient(a *account) (*trustmanager.Client, uint64) {
	r.mu.Lock()
	defer r.release()
	return a.client, a.epoch
}

func (r *Registry) endCall(a *account, g *gate, epoch uint64, v verdict) {
	r.mu.Lock()
	defer r.release()
	a.calls--
	g.leave(false)
	if epoch == a.epoch {
		r.feed(a, g, v)
	}
	r.dispatch(g)
	if a.gate != g {
		r.dispatch(a.gate)
	}
}
