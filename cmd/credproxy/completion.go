package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"credproxy/internal/human"
)

// completionCommand prints what a shell needs to complete commands and options. The scripts ask the program itself, so they
// stay right when it is upgraded; fish's is a list, to be made anew then.
func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script: source <(credproxy completion bash)",
		ArgsUsage: "bash|zsh|fish",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("completion: for which shell? bash, zsh or fish")
			}
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				var err error
				if script, err = c.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("make completion: %w", err)
				}
			default:
				return usagef("completion: %q is not bash, zsh or fish", shell)
			}
			_, err := fmt.Fprintln(c.App.Writer, strings.TrimSpace(script))
			return err
		},
		BashComplete: func(c *cli.Context) { fmt.Fprintln(c.App.Writer, "bash\nzsh\nfish") },
	}
}

// The library's own scripts evaluate what stands on the command line, $(...) included; these do not.
const bashCompletion = `
_credproxy() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words
  COMPREPLY=()
  case "$prev" in
    --config | -c | --cacert | --cert | --key | --dir) return ;; # files, which the shell knows
  esac
  words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $cur == -* ]] && words+=("${cur/#--/-}") # a bare -- would end the options
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(SHELL=bash "${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _credproxy credproxy
`

const zshCompletion = `
#compdef credproxy
_credproxy() {
  local -a found asked
  asked=("${(@)words[1,CURRENT-1]}")
  case "${words[CURRENT-1]}" in
    --config | -c | --cacert | --cert | --key | --dir) _files; return ;;
  esac
  [[ "${words[CURRENT]}" == -* ]] && asked+=("${words[CURRENT]/#--/-}")
  found=("${(@f)$(SHELL=zsh "${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then
    _describe 'credproxy' found
  else
    _files
  fi
}
if [[ "$funcstack[1]" == "_credproxy" ]]; then
  _credproxy "$@"
else
  compdef _credproxy credproxy
fi
`

// completeIDs offers sessions of the proxy that the options before name; without an answer at once, none.
func completeIDs(c *cli.Context) {
	if last := os.Args[max(len(os.Args)-2, 0)]; strings.HasPrefix(last, "-") && last != "-" {
		cli.DefaultCompleteWithFlags(c.Command)(c)
		return
	}
	r, err := newRemote(c)
	if err != nil {
		return
	}
	defer r.client.Close()
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	reply, err := r.do(ctx, "SESSIONS", "ORDER", "recent", "COUNT", "200")
	if err != nil {
		return
	}
	rows, _ := reply.([]any)
	for _, row := range rows {
		if rec, err := asRecord(row); err == nil {
			if id := fmt.Sprint(rec.values()["id"]); id == human.Printable(id) && !strings.ContainsAny(id, " '\"\\$`") {
				fmt.Fprintln(c.App.Writer, id)
			}
		}
	}
}

// completeOptions offers options alone: there is nothing else to say to the command.
func completeOptions(c *cli.Context) {
	if strings.HasPrefix(os.Args[max(len(os.Args)-2, 0)], "-") {
		cli.DefaultCompleteWithFlags(c.Command)(c)
	}
}
