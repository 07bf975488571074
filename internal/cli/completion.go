// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// kubectlCompletion is what kubectl runs to complete a plugin's arguments: an executable of this name in the PATH.
const kubectlCompletion = `#!/usr/bin/env sh
# Save this as kubectl_complete-devicecert in a folder of your PATH, and make it executable.
exec kubectl-devicecert __complete "$@"
`

func newCompletionCommand(e *Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "completion kubectl|bash|zsh|fish|powershell",
		Short: "Print what completes verbs and names in your shell",
		Long: "Print what completes verbs, flags and the names of objects in your shell.\n\n" +
			"kubectl completes its plugins by a program beside them: that is what \"kubectl\" prints, once for all shells. The others complete\n" +
			"the program kubectl-devicecert when it is called by that name.",
		Example: example(`
			kubectl devicecert completion kubectl > ~/bin/kubectl_complete-devicecert && chmod +x ~/bin/kubectl_complete-devicecert
			source <(kubectl devicecert completion bash)`),
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"kubectl", "bash", "zsh", "fish", "powershell"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.Out, true)
			case "zsh":
				return root.GenZshCompletion(e.Out)
			case "fish":
				return root.GenFishCompletion(e.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(e.Out)
			}
			_, err := fmt.Fprint(e.Out, kubectlCompletion)
			return err
		},
	}
}
