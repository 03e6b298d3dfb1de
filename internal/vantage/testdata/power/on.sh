echo "Status: ON"
