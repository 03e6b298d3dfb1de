env | sort | tr '\n' ' ' >&2
cat >&2
exit 1
