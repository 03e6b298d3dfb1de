echo "usage: fence_x [-h] --ip IP" >&2
exit 2
