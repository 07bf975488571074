// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command argo does what Argo CD does when somebody chooses an action of a resource's menu, for those who have no Argo CD at hand: it reads
// the object as JSON, runs the script of config/gitops/argocd over it, and prints the object that Argo CD would patch the live one to.
//
//	kubectl get devicecertificate NAME -o json | go run ./hack/argo suspend | kubectl replace -f -
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/devicecert/devicecert-operator/internal/testkit/gitops"
)

func main() {
	if err := act(os.Stdin, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argo:", err)
		os.Exit(1)
	}
}

func act(input io.Reader, output io.Writer, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one action, such as suspend; there are %d arguments", len(args))
	}
	var object map[string]any
	if err := json.NewDecoder(input).Decode(&object); err != nil {
		return fmt.Errorf("read the object, which is expected as JSON on standard input: %w", err)
	}
	kit, err := gitops.Load("config/gitops")
	if err != nil {
		return fmt.Errorf("read the scripts, from the root of the repository: %w", err)
	}
	offered, err := kit.ArgoActions(object)
	if err != nil {
		return err
	}
	if action, ok := offered[args[0]]; !ok || action.Disabled {
		return fmt.Errorf("the menu of this %v does not offer %s now; it offers %v", object["kind"], args[0], enabled(offered))
	}
	changed, err := kit.RunArgoAction(args[0], object)
	if err != nil {
		return err
	}
	return json.NewEncoder(output).Encode(changed)
}

func enabled(offered map[string]gitops.Action) []string {
	var names []string
	for name, action := range offered {
		if !action.Disabled {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
