// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// fieldOwner is who the plugin is to the API server.
const fieldOwner = client.FieldOwner("kubectl-devicecert")

// Environment is what all verbs share.
type Environment struct {
	genericiooptions.IOStreams
	// Flags say which cluster, namespace and user.
	Flags *genericclioptions.ConfigFlags
	Clock clock.PassiveClock
	// Terminal: Out is one, and may be coloured and redrawn.
	Terminal bool
	// Colours are wanted; see ColoursWanted.
	Colours bool
	// Interactive: In is a terminal, so a question finds somebody to answer it.
	Interactive bool
	// Version is the plugin's own.
	Version string
}

// session is a connection to the cluster.
type session struct {
	client.WithWatch
	// namespace of the command line or of the context.
	namespace string
	// server is the clock of the API server, as its answers tell.
	server *serverClock
	config *rest.Config
}

// connect reads the kubeconfig. It sends nothing yet.
func (e *Environment) connect() (*session, error) {
	namespace, _, err := e.Flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := e.Flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w: name one with --kubeconfig, or a context with --context", err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "kubectl-devicecert/" + e.Version
	config.QPS, config.Burst = 50, 300 // as kubectl
	s := &session{namespace: namespace, server: &serverClock{clock: e.Clock}, config: config}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return s.server.listen(next) })
	kinds, mapper := kinds()
	scheme := runtime.NewScheme()
	for _, add := range kinds {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	s.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	return s, nil
}

// kinds are those the plugin ever touches. Known beforehand, they save the discovery that most commands would spend their time with.
func kinds() ([]func(*runtime.Scheme) error, apimeta.RESTMapper) {
	mapper := apimeta.NewDefaultRESTMapper(nil)
	for gvk, scope := range map[schema.GroupVersionKind]apimeta.RESTScope{
		v1alpha1.SchemeGroupVersion.WithKind("DeviceCertificate"):                      apimeta.RESTScopeNamespace,
		v1alpha1.SchemeGroupVersion.WithKind(string(v1alpha1.KindDeviceIssuer)):        apimeta.RESTScopeNamespace,
		v1alpha1.SchemeGroupVersion.WithKind(string(v1alpha1.KindClusterDeviceIssuer)): apimeta.RESTScopeRoot,
		corev1.SchemeGroupVersion.WithKind("Secret"):                                   apimeta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("ConfigMap"):                                apimeta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Event"):                                    apimeta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Namespace"):                                apimeta.RESTScopeRoot,
		appsv1.SchemeGroupVersion.WithKind("Deployment"):                               apimeta.RESTScopeNamespace,
		authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"):         apimeta.RESTScopeRoot,
		apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"):        apimeta.RESTScopeRoot,
	} {
		mapper.Add(gvk, scope)
	}
	return []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, appsv1.AddToScheme, authorizationv1.AddToScheme, apiextensionsv1.AddToScheme,
	}, mapper
}

// serverClock learns the API server's time from its answers.
type serverClock struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	skew  time.Duration
	known bool
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *serverClock) listen(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if err != nil {
			return answer, err
		}
		if at, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.skew, c.known = at.Sub(c.clock.Now()), true
		}
		return answer, nil
	})
}

// ahead is how far the server's clock is ahead of this machine's; false before its first answer.
func (c *serverClock) ahead() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew, c.known
}

// explain turns what the API server said into what the user can do.
func explain(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: you are not allowed to: %w; the role edit of the namespace includes it, and `kubectl devicecert doctor` lists what you may do", doing, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the cluster does not know you: log in again, or choose another --context: %w", doing, err)
	case unknownKind(err):
		return fmt.Errorf("%s: the cluster does not know the kinds of devicecert.io: install devicecert-operator, or choose another --context", doing)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the API server did not answer in time: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unknownKind tells whether the API server does not know the kind at all, rather than the object.
func unknownKind(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}
