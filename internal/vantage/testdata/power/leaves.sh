# leaves.sh FILE: ends, and leaves a child behind that holds its output.
sleep 1000 &
echo $! >"$1"
echo "Status: OFF"
exit 2
