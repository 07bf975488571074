// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live reads and edits objects that other processes write at the same time.
package live

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is for writers that meet each other again and again: some two seconds in all.
var patience = wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.5, Jitter: 0.5, Steps: 11}

// Get reads an object, always into a new one: the client's own Get leaves in an object what the API server's answer does not mention, so that
// who reads twice into the same one goes on seeing fields, labels and annotations that are gone.
func Get[T any, P object[T]](ctx context.Context, c client.Reader, key client.ObjectKey) (P, error) {
	o := P(new(T))
	err := c.Get(ctx, key, o)
	return o, err
}

// Edit reads an object, changes it and writes it. If somebody else wrote it in between, nothing of theirs is lost: change is called again, with
// the object as it is now. The answer is what was written.
func Edit[T any, P object[T]](ctx context.Context, c client.Client, key client.ObjectKey, change func(P)) (P, error) {
	return edit(ctx, c, key, change, func(o P) error { return c.Update(ctx, o) })
}

// EditStatus does the same to the object's status.
func EditStatus[T any, P object[T]](ctx context.Context, c client.Client, key client.ObjectKey, change func(P)) (P, error) {
	return edit(ctx, c, key, change, func(o P) error { return c.Status().Update(ctx, o) })
}

func edit[T any, P object[T]](ctx context.Context, c client.Reader, key client.ObjectKey, change func(P), write func(P) error) (P, error) {
	var o P
	err := retry.RetryOnConflict(patience, func() (err error) {
		if o, err = Get[T, P](ctx, c, key); err != nil {
			return err
		}
		change(o)
		return write(o)
	})
	return o, err
}

// object is the pointer to an API type.
type object[T any] interface {
	*T
	client.Object
}
