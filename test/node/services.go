// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// services stands in for kube-proxy and the cluster's DNS: it takes the address of every Service, hands connections on to a ready
// endpoint, and knows the names.
type services struct {
	admin client.Client

	mu     sync.Mutex
	byName map[string]netip.Addr // name.namespace
}

// serve goes on until the context ends.
func (v *services) serve(ctx context.Context) error {
	v.byName = map[string]netip.Addr{"kubernetes.default": netip.MustParseAddr(address)}
	listening, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address+":53")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listening.Close() })
	go v.answerNames(listening)
	go func() {
		_ = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			list := &corev1.ServiceList{}
			if err := v.admin.List(ctx, list); err != nil {
				return false, nil // tried again
			}
			for i := range list.Items {
				_ = v.take(ctx, &list.Items[i]) // tried again
			}
			return false, nil
		})
	}()
	return nil
}

// take serves a Service, unless it is served already.
func (v *services) take(ctx context.Context, service *corev1.Service) error {
	name := service.Name + "." + service.Namespace
	if _, known := v.lookUp(name); known || service.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	ip, err := netip.ParseAddr(service.Spec.ClusterIP)
	if err != nil {
		return err
	}
	if err := run(ctx, "ip", "address", "replace", ip.String()+"/32", "dev", "lo"); err != nil {
		return err
	}
	for _, port := range service.Spec.Ports {
		listening, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(ip, uint16(port.Port)).String())
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = listening.Close() })
		go v.forward(ctx, listening, service, port.Name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byName[name] = ip
	return nil
}

func (v *services) forward(ctx context.Context, listening net.Listener, service *corev1.Service, port string) {
	for {
		from, err := listening.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = from.Close() }()
			endpoint, err := v.endpoint(ctx, service, port)
			if err != nil {
				return
			}
			to, err := (&net.Dialer{}).DialContext(ctx, "tcp", endpoint)
			if err != nil {
				return
			}
			defer func() { _ = to.Close() }()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				go func() {
					_, _ = io.Copy(way[1], way[0])
					done <- struct{}{}
				}()
			}
			<-done
		}()
	}
}

// endpoint is a pod that is ready.
func (v *services) endpoint(ctx context.Context, service *corev1.Service, port string) (string, error) {
	slices := &discoveryv1.EndpointSliceList{}
	if err := v.admin.List(ctx, slices, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
		return "", err
	}
	for _, slice := range slices.Items {
		for _, p := range slice.Ports {
			for _, e := range slice.Endpoints {
				if *p.Name == port && e.Conditions.Ready != nil && *e.Conditions.Ready {
					return net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))), nil
				}
			}
		}
	}
	return "", fmt.Errorf("no endpoint of %s is ready", service.Name)
}

func (v *services) lookUp(name string) (netip.Addr, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ip, known := v.byName[name]
	return ip, known
}

func (v *services) answerNames(listening net.PacketConn) {
	packet := make([]byte, 512)
	for {
		n, from, err := listening.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if answer, err := v.answer(packet[:n]); err == nil {
			_, _ = listening.WriteTo(answer, from)
		}
	}
}

func (v *services) answer(packet []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	name, inCluster := strings.CutSuffix(strings.ToLower(question.Name.String()), ".svc.cluster.local.")
	ip, known := v.lookUp(name)
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{question}}
	switch {
	case !inCluster || !known:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 5}, Body: &dnsmessage.AResource{A: ip.As4()},
		}}
	}
	return reply.Pack()
}
