package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "1", "main-default", strings.Repeat("a", 40)} {
		require.NoError(t, CheckName(good), good)
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a_b", "a/b", "..", "a b", strings.Repeat("a", 41)} {
		require.Error(t, CheckName(bad), bad)
	}
}

func TestDefaultNameIsAlwaysValid(t *testing.T) {
	for folder, want := range map[string]string{
		"main":                   "main-default",
		"Holdfast":               "holdfast-default",
		"my_check.out":           "my-check-out-default",
		"___":                    "default",
		"":                       "default",
		strings.Repeat("x", 300): strings.Repeat("x", 30) + "-default",
		"größer":                 "gr--er-default",
	} {
		got := defaultName(folder)
		require.NoError(t, CheckName(got), folder)
		require.Equal(t, want, got, folder)
	}
}

func TestNamesFitTheKernel(t *testing.T) {
	id := identity("/a/very/long/path/to/some/lab/or/other/of/a/checkout/build/lab/default")
	require.LessOrEqual(t, len(uplink(id)), 15)
	for i := range MaxHosts {
		require.LessOrEqual(t, len(hostName(i)), 15)
		require.True(t, strings.HasPrefix(hostNetNS(id, hostName(i)), namespacePrefix(id)))
	}
	require.NotEqual(t, identity("/a/build/lab/default"), identity("/b/build/lab/default"))
}

func TestHostsHaveTheirOwnIdentity(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{identity("/a"), identity("/b")} {
		for i := range MaxHosts {
			for _, name := range []string{hostUUID(id, hostName(i)), macAddress(id, hostName(i)), hostNetNS(id, hostName(i))} {
				require.NotContains(t, seen, name)
				seen[name] = id
			}
		}
	}
	require.Equal(t, hostUUID("x", "A"), hostUUID("x", "A"))
}

func TestSubnetsAreApartAndInTheBenchmarkRange(t *testing.T) {
	all := netip.MustParsePrefix("198.18.0.0/15")
	seen := map[netip.Prefix]bool{}
	for i := range subnets {
		s := subnet(i)
		require.True(t, all.Contains(s.Addr()), s)
		require.True(t, all.Contains(hostAddress(s, MaxHosts-1)), s)
		require.True(t, s.Contains(rootAddress(s)) && s.Contains(hostAddress(s, 0)) && s.Contains(hostAddress(s, MaxHosts-1)))
		require.False(t, seen[s], s)
		seen[s] = true
	}
	// Nobody has another's address, nor the broadcast's.
	one := subnet(7)
	require.Less(t, hostAddress(one, MaxHosts-1).As4()[3], byte(firstVantage))
	require.Less(t, address(one, firstVantage+MaxVantages-1).As4()[3], vmAddress(one, 0).As4()[3])
	require.Less(t, vmAddress(one, MaxVMs-1).As4()[3], byte(255))
	require.Equal(t, "198.18.255.0/24", subnet(255).String())
	require.Equal(t, "198.19.0.0/24", subnet(256).String())
	require.Equal(t, "198.18.7.11", hostAddress(subnet(7), 0).String())
	require.Equal(t, "198.18.7.1", rootAddress(subnet(7)).String())
}

func TestFreeSubnetAvoidsWhatIsTaken(t *testing.T) {
	free := func(start int, taken ...string) (netip.Prefix, error) {
		var prefixes []netip.Prefix
		for _, s := range taken {
			prefixes = append(prefixes, netip.MustParsePrefix(s))
		}
		return freeSubnet(start, prefixes)
	}
	got, err := free(3, "127.0.0.1/8", "198.18.4.1/24")
	require.NoError(t, err)
	require.Equal(t, subnet(3), got)

	got, err = free(3, "198.18.3.1/24", "198.18.4.77/32")
	require.NoError(t, err)
	require.Equal(t, subnet(5), got)

	got, err = free(511, "198.19.255.1/24")
	require.NoError(t, err)
	require.Equal(t, subnet(0), got, "the search goes round")

	_, err = free(9, "198.0.0.0/8")
	require.ErrorContains(t, err, "lab down --all")
}

func TestLabDirIsOneForAllWaysToIt(t *testing.T) {
	base := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(base, link))
	straight, err := labDir(base, "x")
	require.NoError(t, err)
	around, err := labDir(link, "x")
	require.NoError(t, err)
	require.Equal(t, straight, around)

	_, err = labDir(base, "../x")
	require.Error(t, err)
}

func TestOpenSaysWhatToDo(t *testing.T) {
	_, err := Open(t.TempDir(), "nothing")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "lab up --name nothing")
}

func TestPlan(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lab")
	require.NoError(t, os.WriteFile(binary, nil, 0o755))
	base := t.TempDir()

	l, err := plan(&Options{Name: "x", Dir: base, Binary: binary, Hosts: 2, VMs: 3})
	require.NoError(t, err)
	var placed []string
	for _, vm := range l.info.VMs {
		placed = append(placed, vm.Name+" on "+vm.Host)
	}
	require.Equal(t, []string{"VM1 on A", "VM2 on B", "VM3 on A"}, placed)
	require.Equal(t, l.info.Hosts[0].Images, l.info.Hosts[1].Images)

	l, err = plan(&Options{Name: "x", Dir: base, Binary: binary, Storage: StorageLocal, VMs: -1})
	require.NoError(t, err)
	require.Len(t, l.info.Hosts, 2)
	require.Empty(t, l.info.VMs)
	require.NotEqual(t, l.info.Hosts[0].Images, l.info.Hosts[1].Images)

	for _, wrong := range []Options{{Hosts: 27}, {Hosts: -1}, {VMs: 201}, {Storage: "none"}, {Name: "X"}, {Binary: binary + "x"}} {
		if wrong.Name == "" {
			wrong.Name = "x"
		}
		if wrong.Binary == "" {
			wrong.Binary = binary
		}
		wrong.Dir = base
		_, err := plan(&wrong)
		require.Error(t, err, "%+v", wrong)
	}
}

func TestFolderLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	unlock, err := tryLock(dir)
	require.NoError(t, err)
	_, err = tryLock(dir)
	require.Error(t, err)
	unlock()

	again, err := tryLock(dir)
	require.NoError(t, err)
	// Whoever waited for the lock of a folder that was removed must not get it.
	require.NoError(t, os.Remove(dir))
	other, err := tryLock(dir)
	require.NoError(t, err)
	again()
	_, err = tryLock(dir)
	require.Error(t, err)
	other()
}

func TestParseDump(t *testing.T) {
	out := "00000000:  48 46 57 49 54 4e 45 53 65 00 00 00 00 00 00 00  HFWITNESe.......\n" +
		"00000010:  62 31  b1\n" +
		"read 18/18 bytes at offset 0\n18 bytes, 1 ops; 00.00 sec (1 MiB/sec)\n"
	require.Equal(t, append([]byte("HFWITNESe\x00\x00\x00\x00\x00\x00\x00"), "b1"...), parseDump([]byte(out)))
	require.Empty(t, parseDump([]byte("can't open: 0000\n")))
}
