// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"slices"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// vendor is one account in this process, so that its ledger outlives every manager.
type vendor struct {
	server  *simulator.Server
	running *simulator.Running
}

func (w *world) addVendor(edit ...func(*simulator.Config)) *vendor {
	w.Helper()
	second := simulator.Duration(time.Second)
	fields := []simulator.Field{{ID: "subject.common_name", Mandatory: true}, {ID: "subject.organization_unit"}}
	config := simulator.Config{
		Profiles: []simulator.Profile{
			{ID: profileLong, KeyTypes: []string{"p_256"}, CertificateFields: fields, Backdate: &second},
			{ID: profileShort, KeyTypes: []string{"p_256"}, CertificateFields: fields, Backdate: &second, Validity: simulator.Duration(3 * time.Minute)},
			{ID: profileBrief, KeyTypes: []string{"p_256"}, CertificateFields: fields, Backdate: &second, Validity: simulator.Duration(90 * time.Second)},
		},
		APIKeys: []simulator.APIKey{{Name: "good", Key: token}},
	}
	for _, e := range edit {
		e(&config)
	}
	server, err := simulator.New(config)
	w.must(err)
	w.Cleanup(func() { _ = server.Close() })
	running, err := server.Start(simulator.Addresses{API: "127.0.0.1:0"})
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = running.Stop(ctx) // a manager that died holds nothing worth waiting for
	})
	v := &vendor{server: server, running: running}
	w.vendors = append(w.vendors, v)
	return v
}

// vendor is the account of the issuer that certificates name by default.
func (w *world) vendor() *vendor { return w.vendors[0] }

// misbehave arms a fault.
func (w *world) misbehave(v *vendor, f simulator.Fault) (id string) {
	w.Helper()
	id, err := v.server.AddFault(f)
	w.must(err)
	return id
}

// awaitHit waits until the fault was met.
func (w *world) awaitHit(v *vendor, id string) {
	w.Helper()
	eventually(w.T, "the vendor is asked", func(context.Context) (bool, error) { return v.hits(id) > 0, nil })
}

// hits is how many requests met the fault so far.
func (v *vendor) hits(id string) int {
	for _, f := range v.server.Faults() {
		if f.ID == id {
			return f.Hits
		}
	}
	return 0
}

// ledger is every certificate ever issued by any of the vendors, oldest first.
func (w *world) ledger() []simulator.Entry {
	var all []simulator.Entry
	for _, v := range w.vendors {
		all = append(all, v.server.Ledger()...)
	}
	slices.SortStableFunc(all, func(a, b simulator.Entry) int { return a.IssuedAt.Compare(b.IssuedAt) })
	return all
}

// calls are the requests that reached any of the vendors, oldest first, without the probes of the issuers.
func (w *world) calls() []simulator.Request {
	var all []simulator.Request
	for _, v := range w.vendors {
		all = append(all, v.server.Requests()...)
	}
	all = slices.DeleteFunc(all, func(r simulator.Request) bool {
		return !buys(r) && r.Operation != simulator.OperationRevoke && r.CommonName == ""
	})
	slices.SortStableFunc(all, func(a, b simulator.Request) int { return a.Time.Compare(b.Time) })
	return all
}

// buys tells whether a request costs a certificate.
func buys(r simulator.Request) bool {
	return r.Operation == simulator.OperationEnroll || r.Operation == simulator.OperationRenew
}
