package config

import (
	"path"
	"regexp"
	"strings"
	"time"
)

// Power is how to ask the power supply of a host whether the host is on.
type Power struct {
	// Command and its arguments, run without a shell. It exits with 0 for on and 2
	// for off, as the ClusterLabs fence agents do for --action=status; with
	// anything else it is not known. No argument holds a password.
	Command []string `yaml:"command,flow"`
	// Timeout is the most that it may take, 1s to 5m.
	Timeout time.Duration `yaml:"timeout"`
}

// defaultPowerTimeout is for a BMC that takes its time.
const defaultPowerTimeout = 20 * time.Second

func powerSchema(d *decoder, p *Power) reader {
	p.Timeout = defaultPowerTimeout
	return d.mapping(
		field{"command", d.words(&p.Command, checkArgument)},
		field{"timeout", d.duration(&p.Timeout, time.Second, 5*time.Minute)},
	)
}

// passwordOption is an option, long or short, that a password follows.
var passwordOption = regexp.MustCompile(`\A(-p.*|--?([a-z-]*-)?(password|passwd|pass|secret|token)(=.*)?|(password|passwd|pass|secret|token)=.*)\z`)

// checkArgument refuses what would show a password to everybody who lists the
// machine's processes, or reads the site file. What it returns never shows any
// of the argument.
func checkArgument(s string) (message, hint string) {
	switch {
	case passwordOption.MatchString(s):
		return "holds a password, or the next one does, and a site file is no place for it",
			"fence agents have --password-script=FILE: a program, readable for Holdfast alone, that prints the password"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		return "has a line break or a control character", "write one argument an item; there is no shell"
	}
	return "", ""
}

// checkPower reports what no argument can be blamed for alone.
func checkPower(d *decoder, p *Power, at string) {
	if !d.sound(at) {
		return
	}
	switch {
	case len(p.Command) == 0:
		d.problemAt(at+".command", "list the program and its arguments, such as [fence_ipmilan, --ip=10.0.0.1, --action=status]", "is missing")
		return
	case p.Command[0] == "" || strings.ContainsAny(p.Command[0], " \t"):
		d.problemAt(at+".command[0]", "list the program and each argument as an item: there is no shell", "is not the name of a program")
		return
	}
	if strings.HasPrefix(path.Base(p.Command[0]), "ipmitool") { // elsewhere -P is something else
		for i, arg := range p.Command[1:] {
			if strings.HasPrefix(arg, "-P") {
				d.problemAt(itemPath(at+".command", i+1), "ipmitool has -f FILE", "holds a password, or the next one does, and a site file is no place for it")
			}
		}
	}
}
