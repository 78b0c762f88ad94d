package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return command(cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for a shell",
		ArgsUsage: "bash|zsh|fish",
		Action: func(c *cli.Context) error {
			shell, err := oneArgument(c, "bash, zsh or fish")
			if err != nil {
				return err
			}
			script, ok := completions[shell]
			if !ok {
				return usagef("no completion for %q: bash, zsh or fish%s", shell, didYouMean(shell, []string{"bash", "zsh", "fish"}, ""))
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, struct {
					SchemaVersion int    `json:"schema_version"`
					Script        string `json:"script"`
				}{schemaVersion, script(c.App.Commands)})
			}
			_, err = fmt.Fprint(c.App.Writer, script(c.App.Commands))
			return err
		},
	}, `eval "$(sat completion bash)"`)
}

// completions make scripts that know every command, subcommand and flag; arguments are completed as files.
var completions = map[string]func([]*cli.Command) string{
	"bash": bashCompletion,
	"zsh": func(c []*cli.Command) string {
		return "autoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(c)
	},
	"fish": fishCompletion,
}

func flagWords(c *cli.Command) []string {
	words := []string{"--help"}
	for _, f := range c.Flags {
		for _, name := range f.Names() {
			words = append(words, "--"+name)
		}
	}
	return words
}

func bashCompletion(commands []*cli.Command) string {
	var b strings.Builder
	b.WriteString("_sat() {\n  local word=${COMP_WORDS[COMP_CWORD]} words\n  case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n")
	for _, c := range commands {
		for _, sub := range c.Subcommands {
			fmt.Fprintf(&b, "    \"%s %s\") words=\"%s\" ;;\n", c.Name, sub.Name, strings.Join(flagWords(sub), " "))
		}
		words := flagWords(c)
		if len(c.Subcommands) > 0 {
			words = commandNames(c.Subcommands)
		}
		fmt.Fprintf(&b, "    \"%s \"*) words=\"%s\" ;;\n", c.Name, strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "    *) words=\"%s\" ;;\n  esac\n", strings.Join(commandNames(commands), " "))
	b.WriteString("  COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n}\ncomplete -o filenames -F _sat sat\n")
	return b.String()
}

func fishCompletion(commands []*cli.Command) string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "complete -c sat -n __fish_use_subcommand -a %s -d %q\n", c.Name, c.Usage)
		for _, sub := range c.Subcommands {
			fmt.Fprintf(&b, "complete -c sat -n '__fish_seen_subcommand_from %s' -a %s -d %q\n", c.Name, sub.Name, sub.Usage)
		}
		for _, word := range flagWords(c) {
			fmt.Fprintf(&b, "complete -c sat -n '__fish_seen_subcommand_from %s' -l %s\n", c.Name, strings.TrimPrefix(word, "--"))
		}
	}
	return b.String()
}
