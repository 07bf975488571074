// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// single is what the verbs share that steer one DeviceCertificate.
type single struct {
	*Environment
	name     string
	steering steering
}

// Complete reads the name.
func (o *single) Complete(args []string) error {
	var t targets
	t.complete(args[:1])
	o.name = t.names[0]
	return nil
}

// Validate looks at the flags.
func (o *single) Validate() error { return o.steering.validate() }

// read connects and reads the object.
func (o *single) read(ctx context.Context) (*session, *v1alpha1.DeviceCertificate, error) {
	s, err := o.connect()
	if err != nil {
		return nil, nil, err
	}
	c, err := s.certificate(ctx, o.name)
	return s, c, err
}

// request sets an annotation and waits until the object is done, as j judges it.
func (o *single) request(ctx context.Context, s *session, c *v1alpha1.DeviceCertificate, annotation, value, done string, j judge) error {
	before := c.DeepCopy()
	if err := s.annotate(ctx, c, map[string]string{annotation: value}); err != nil || !o.steering.wait {
		return err
	}
	w := o.newWait(s, done, o.steering.timeout)
	w.add(before, j)
	return w.run(ctx)
}
