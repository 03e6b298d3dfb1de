package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseMounts(t *testing.T) {
	info := "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"90 27 0:51 / /tmp/a\\040b/images rw,nosuid shared:7 master:2 - tmpfs holdfast-lab-pool rw,size=8192k\n" +
		"rubbish\n91 27 0:52 /x - \n"
	require.Equal(t, []mountPoint{{"/", "/dev/vda"}, {"/tmp/a b/images", "holdfast-lab-pool"}}, parseMounts(info))
}
