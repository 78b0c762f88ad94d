package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
)

// arrange returns the command line with every flag of a command in front of its positional arguments, because the
// command line library stops reading flags at the first positional. Unknown commands and flags end here, with the
// nearest valid word.
func arrange(app *cli.App, args []string) ([]string, error) {
	var words, flags, positionals, given []string
	commands, current := app.Commands, (*cli.Command)(nil)
	name := app.Name
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			positionals = append(positionals, args[i+1:]...)
			i = len(args)
		case strings.HasPrefix(arg, "-") && arg != "-":
			flag, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if flag == "help" || flag == "h" {
				return append(words, "--help"), nil
			}
			if current == nil {
				return nil, usagef("unknown flag %q in front of the command%s", arg, suggestCommand("", commands))
			}
			takesValue, known := flagTakesValue(current, flag)
			if !known {
				return nil, usagef("unknown flag %q of %s%s", arg, name, suggestFlag(flag, current))
			}
			flags, given = append(flags, arg), append(given, flag)
			if takesValue && !hasValue {
				if i+1 == len(args) {
					return nil, usagef("flag %s of %s needs a value", arg, name)
				}
				i++
				flags = append(flags, args[i])
			}
		case len(commands) > 0:
			found := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(arg) })
			if found < 0 {
				return nil, usagef("unknown command %q of %s%s", arg, name, suggestCommand(arg, commands))
			}
			current, name = commands[found], name+" "+arg
			commands = current.Subcommands
			words = append(words, arg)
		default:
			positionals = append(positionals, arg)
		}
	}
	if len(commands) > 0 && current != nil {
		return nil, usagef("%s needs one of: %s", name, strings.Join(commandNames(commands), ", "))
	}
	if missing := missingFlags(current, given); len(missing) > 0 {
		return nil, usagef("%s needs %s", name, strings.Join(missing, " and "))
	}
	arranged := append(words, flags...)
	if len(positionals) > 0 {
		arranged = append(append(arranged, "--"), positionals...)
	}
	return arranged, nil
}

// flagTakesValue reports whether flag is one of the command's, and whether a value follows it.
func flagTakesValue(command *cli.Command, flag string) (takesValue, known bool) {
	for _, f := range command.Flags {
		if slices.Contains(f.Names(), flag) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool, true
		}
	}
	return false, false
}

// missingFlags lists the required flags of a command that are not given. The library would print its help on stdout.
func missingFlags(command *cli.Command, given []string) []string {
	if command == nil {
		return nil
	}
	var missing []string
	for _, f := range command.Flags {
		r, ok := f.(cli.RequiredFlag)
		if ok && r.IsRequired() && !slices.ContainsFunc(f.Names(), func(name string) bool { return slices.Contains(given, name) }) {
			missing = append(missing, "--"+f.Names()[0])
		}
	}
	return missing
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

func suggestCommand(word string, commands []*cli.Command) string {
	return didYouMean(word, commandNames(commands), "")
}

func suggestFlag(word string, command *cli.Command) string {
	var names []string
	for _, f := range command.Flags {
		names = append(names, f.Names()...)
	}
	return didYouMean(word, names, "--")
}

func didYouMean(word string, known []string, prefix string) string {
	if near, ok := experiment.Nearest(word, known); ok {
		return "; did you mean \"" + prefix + near + "\"?"
	}
	return ""
}
