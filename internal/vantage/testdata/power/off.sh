echo "Status: OFF"
exit 2
