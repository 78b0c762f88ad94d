// Package experiment reads experiment files: TOML that says which models, which images, which attack and which
// analyses. It turns a file into a Config with every default filled in, or into the list of everything that is wrong
// with it.
//
// # Strictness
//
// A misspelt key that is silently ignored costs a night of GPU time, so nothing is ignored. Load reports all problems
// at once (*Problems), each with the file, the line, the line's text and the way out:
//
//	exp.toml:14: unknown key "attack.epslion"
//	   14 | epslion = "4/255"
//	      | ^^^^^^^ did you mean "epsilon"?
//
// The TOML library gives positions for syntax errors only, and it stops at the first problem of a value. So it does the
// syntax and the values, and this package does the rest: scan.go finds where each key and value stands, decode.go
// fills the structs of config.go by reflection and notes everything that does not fit, check.go looks at what keys
// mean together. A syntax error is reported alone, because nothing after it can be trusted.
//
// # What a file means
//
// The keys, their units, ranges and meanings are the fields of Config and their tags; the values they have when the
// file does not say are in one table (defaults.go). Config.Resolved writes the complete file back: what `sat config show`
// prints and what is stored beside the results. Reading that gives the same Config.
//
// Numbers that the paper writes as fractions are Fractions: exact rationals, "8/255" or a decimal. A model with several
// seeds stands for several models (Config.Members). A recipe may inherit another. Relative paths are relative to the
// working directory, also in the resolved file. No environment variable changes a number.
//
// Load takes KEY=VALUE texts of the command line (--set) in place of what the file says: the same file serves a rehearsal
// on small data, and the resolved file shows what was run. A mistake in one is reported with it instead of with a line.
//
// [zoo] names networks of a registry that this package does not know; whoever resolves them reports unknown ones with
// Config.Problem.
//
// The package does not look at the world: that a path exists is a warning of Config.Check, that a timm name exists
// is for the exporter to say.
package experiment
