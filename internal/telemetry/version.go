package telemetry

import "runtime/debug"

// version is set by release builds: -ldflags "-X holdfast/internal/telemetry.version=v1.2.3".
var version string

// Version is the version of this build: what the release set, else what the Go
// toolchain recorded, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
