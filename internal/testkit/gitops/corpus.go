// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
)

// corpusVariable names the file to which every object that was judged is added, a line each with what was said of it. `make gitops-argo`
// sets it, and asks Argo CD's own evaluator about each.
const corpusVariable = "GITOPS_CORPUS"

// maxCorpus bounds what one process adds: random stories judge some hundred thousand statuses.
const maxCorpus = 3000

// recorded are the objects that are in the corpus already, by digest.
var recorded struct {
	sync.Mutex
	objects map[[sha256.Size]byte]bool
}

// record adds an object to the corpus, unless there is none.
func (k *Kit) record(object map[string]any, health, message string) error {
	path := os.Getenv(corpusVariable)
	if path == "" {
		return nil
	}
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	recorded.Lock()
	defer recorded.Unlock()
	digest := sha256.Sum256(text)
	if recorded.objects[digest] || len(recorded.objects) == maxCorpus {
		return nil
	}
	actions, err := k.ArgoActions(object)
	if err != nil {
		return err
	}
	offered, ran := map[string]bool{}, map[string]map[string]any{}
	for name, action := range actions {
		offered[name] = !action.Disabled
		if action.Disabled {
			continue
		}
		if ran[name], err = k.RunArgoAction(name, object); err != nil {
			return fmt.Errorf("action %s: %w", name, err)
		}
	}
	line, err := json.Marshal(map[string]any{"object": object, "health": health, "message": message, "offered": offered, "ran": ran})
	if err != nil {
		return err
	}
	if recorded.objects == nil {
		recorded.objects = map[[sha256.Size]byte]bool{}
	}
	recorded.objects[digest] = true
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
