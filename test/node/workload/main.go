// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command workload is what runs in the pods of make node: the pause container of every pod, and a gateway that serves and asks others by
// mutual TLS, with the certificate of a mounted Secret read anew for each handshake.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	folder = "/tls"
	// timeout of whatever travels between pods.
	timeout = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) < 2 || os.Args[1] != "gateway" {
		<-ctx.Done()
		return
	}
	if err := gateway(ctx); err != nil {
		log.Fatal(err)
	}
}

// gateway serves its device side by mutual TLS on 8443, and on 8080 what the test asks: /serial and /ask?url=.
func gateway(ctx context.Context) error {
	device := &http.Server{
		Addr: ":8443", ReadHeaderTimeout: timeout,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return identity() }},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "hello "+r.TLS.PeerCertificates[0].Subject.CommonName)
		}),
	}
	desk := http.NewServeMux()
	desk.HandleFunc("/serial", func(w http.ResponseWriter, _ *http.Request) {
		own, err := identity()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%X", own.Certificates[0].Leaf.SerialNumber)
	})
	desk.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		answer, err := ask(r.Context(), r.URL.Query().Get("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, answer)
	})
	front := &http.Server{Addr: ":8080", ReadHeaderTimeout: timeout, Handler: desk}
	failed := make(chan error, 2)
	go func() { failed <- device.ListenAndServeTLS("", "") }()
	go func() { failed <- front.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errors.Join(device.Close(), front.Close())
	}
}

// identity is what the Secret holds now, trusting the root that came with it.
func identity() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// ask calls another gateway. Its name is checked against the certificate, not its address: pods have no DNS here.
func ask(ctx context.Context, url string) (string, error) {
	own, err := identity()
	if err != nil {
		return "", err
	}
	own.ServerName = os.Getenv("PEER")
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: own, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return string(answer), err
}
