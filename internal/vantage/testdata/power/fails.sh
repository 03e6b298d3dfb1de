# As a fence agent that was told to be verbose: what it was given is in what it says.
printf '\n\033[31mcannot log in with %s\033[0m\nmore about %s\n' "$*" "$*" >&2
exit 1
