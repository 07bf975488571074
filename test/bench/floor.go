// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// floor makes the requests of an enrollment and of a renewal, of the same kinds and sizes as the operator, and nothing else: it observes,
// decides, decodes and verifies nothing, and fences no write.
type floor struct {
	client client.Client
	vendor *trustmanager.Client

	mu     sync.Mutex
	issued map[string]*v1alpha1.IssuedCertificate // by name
}

// measureFloor fills and renews a fleet with bare loops, where no manager runs.
func (f *fleet) measureFloor(ctx context.Context) error {
	ca, err := f.vendor.certificate()
	if err != nil {
		return err
	}
	bare := &floor{issued: map[string]*v1alpha1.IssuedCertificate{}}
	if bare.client, err = f.operatorClient(); err != nil {
		return err
	}
	if bare.vendor, err = newVendorClient(f.vendor.url(), ca); err != nil {
		return err
	}
	n := cmp.Or(f.options.floor, f.n)
	for _, step := range []struct {
		phase string
		ask   func(context.Context, string) error
		issue func(context.Context, string) error
	}{
		{phaseFill, func(ctx context.Context, name string) error { return f.declareFloor(ctx, name) }, bare.enroll},
		{phaseRenew, func(ctx context.Context, name string) error { return f.touch(ctx, name) }, bare.renew},
	} {
		p, err := f.begin(ctx, step.phase+floorOf)
		if err != nil {
			return err
		}
		if err := loop(ctx, n, step.ask, step.issue); err != nil {
			return fmt.Errorf("the floor: %w", err)
		}
		if err := p.end(ctx, n); err != nil {
			return err
		}
		f.floors[step.phase] = p.Rate
	}
	return nil
}

// loop asks for certificates, several at a time, and issues them in parallel.
func loop(ctx context.Context, n int, ask, issue func(context.Context, string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := make(chan string, n)
	errs := make(chan error, parallel+1)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for name := range asked {
				if err := issue(ctx, name); err != nil {
					errs <- err
					cancel()
					return
				}
			}
		})
	}
	err := inParallel(ctx, askers, n, func(ctx context.Context, i int) error {
		name := name("floor", i)
		if err := ask(ctx, name); err != nil {
			return err
		}
		asked <- name
		return nil
	})
	if err != nil {
		errs <- err
	}
	close(asked)
	workers.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// inParallel calls do with 0 to n-1.
func inParallel(ctx context.Context, workers, n int, do func(context.Context, int) error) error {
	numbers := make(chan int, n)
	for i := range n {
		numbers <- i
	}
	close(numbers)
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range numbers {
				if errs[w] = do(ctx, i); errs[w] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func newVendorClient(url string, ca []byte) (*trustmanager.Client, error) {
	pool := certPool(ca)
	return trustmanager.New(trustmanager.Config{
		BaseURL: url, Credential: trustmanager.Credential{APIToken: token}, RootCAs: pool,
		RequestTimeout: time.Minute, UserAgent: "floor", Now: time.Now,
	})
}

// declareFloor creates an object like those of the fleet.
func (f *fleet) declareFloor(ctx context.Context, name string) error {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}
	cn := name + ".example"
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Name: issuerName}
	c.Spec.EnrollmentProfileID = profile
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}}
	return f.client.Create(ctx, c)
}

// touch changes an object as somebody who asks for a renewal does.
func (f *fleet) touch(ctx context.Context, name string) error {
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"bench":"renew"}}}`))
	return f.client.Patch(ctx, &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}, patch)
}

// enroll makes the six API requests and the one vendor call of a first certificate.
func (b *floor) enroll(ctx context.Context, name string) error {
	hold := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"finalizers":[%q]}}`, v1alpha1.Finalizer))
	if err := b.client.Patch(ctx, &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}, hold); err != nil {
		return err
	}
	return b.issue(ctx, name, func(ctx context.Context, r trustmanager.KeyRequest) (*trustmanager.Issued, error) {
		return b.vendor.Enroll(ctx, r)
	})
}

// renew makes the five API requests and the one vendor call of a renewal.
func (b *floor) renew(ctx context.Context, name string) error {
	return b.issue(ctx, name, func(ctx context.Context, r trustmanager.KeyRequest) (*trustmanager.Issued, error) {
		return b.vendor.Renew(ctx, trustmanager.CertificateRef{ID: b.predecessor(name).CertificateID}, r)
	})
}

func (b *floor) issue(ctx context.Context, name string, ask func(context.Context, trustmanager.KeyRequest) (*trustmanager.Issued, error)) error {
	// Of about the size of what the operator rehearses with.
	const rehearsalSize = 6 << 10
	padding := []byte(strings.Repeat("x", rehearsalSize))
	if err := b.apply(ctx, name, map[string][]byte{"tls.crt": padding, "tls.key": padding, "ca.crt": padding[:100]}, client.DryRunAll); err != nil {
		return err
	}
	predecessor := b.predecessor(name)
	if err := b.status(ctx, name, intended(name, predecessor)); err != nil {
		return err
	}
	issued, err := ask(ctx, trustmanager.KeyRequest{
		ProfileID: profile, PrivateKeyFormat: "pem", IncludeChain: true,
		CertificateAttributes: []trustmanager.Attribute{{ID: "subject.common_name", Value: name + ".example"}},
	})
	if err != nil {
		return err
	}
	root := issued.PEM[strings.LastIndex(issued.PEM, "-----BEGIN"):]
	if err := b.apply(ctx, name, map[string][]byte{"tls.crt": []byte(issued.PEM), "tls.key": []byte(issued.PrivateKey), "ca.crt": []byte(root)}); err != nil {
		return err
	}
	certificate := received(issued)
	if err := b.status(ctx, name, reported(name, certificate, predecessor)); err != nil {
		return err
	}
	b.mu.Lock()
	b.issued[name] = certificate
	b.mu.Unlock()
	return b.event(ctx, name)
}

func (b *floor) predecessor(name string) *v1alpha1.IssuedCertificate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.issued[name]
}

func (b *floor) apply(ctx context.Context, name string, data map[string][]byte, options ...client.ApplyOption) error {
	ac := corev1ac.Secret(name, namespace).WithType(corev1.SecretTypeTLS).WithData(data).
		WithLabels(map[string]string{v1alpha1.LabelWatch: "true"}).WithAnnotations(described(name))
	return b.client.Apply(ctx, ac, append(options, client.FieldOwner("floor"), client.ForceOwnership)...)
}

func (b *floor) status(ctx context.Context, name string, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	return b.client.Status().Patch(ctx, &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}, client.RawPatch("application/merge-patch+json", patch))
}

func (b *floor) event(ctx context.Context, name string) error {
	now := metav1.NowMicro()
	return b.client.Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", name, now.UnixNano())},
		EventTime:  now, ReportingController: "floor", ReportingInstance: "floor", Action: "Enroll", Reason: "Issued", Type: corev1.EventTypeNormal,
		Regarding: corev1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "DeviceCertificate", Namespace: namespace, Name: name},
		Note:      strings.Repeat("x", 150),
	})
}
