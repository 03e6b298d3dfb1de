# hangs.sh FILE: has a child, says its process ID in FILE, and never ends.
sleep 1000 &
echo $! >"$1.new"
mv "$1.new" "$1"
wait
