package libvirt

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// libvirt's RPC, as far as one harmless question needs it: a packet is its own
// length and six words of header, all big-endian, and then the arguments.
// https://libvirt.org/kbase/internals/rpc.html
const (
	rpcProgramRemote  = 0x20008086
	rpcVersion        = 1
	rpcProcAuthList   = 66 // the one call that needs no login
	rpcHeaderBytes    = 28
	rpcLongestMessage = 32 << 20 // VIR_NET_MESSAGE_MAX
)

// reach asks whether somebody lives at the other end who speaks libvirt's RPC.
// libvirt's own connect cannot be stopped and takes a thread for as long as
// nobody answers, which is for good if libvirtd hangs; this can be stopped.
//
// For a URI that it cannot be asked of, it says yes.
func (a address) reach(ctx context.Context) error {
	if a.network == "" {
		return nil
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, a.network, a.probe)
	if err != nil {
		return fmt.Errorf("no connection to %s: %w", a.probe, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	if !a.speaks {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // makes the read below return
	defer stop()
	if err := askAuthList(conn); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s takes connections and nobody answers them: is libvirtd stopped or overloaded: %w", a.probe, err)
	}
	return nil
}

func askAuthList(conn io.ReadWriter) error {
	question := make([]byte, 0, rpcHeaderBytes)
	for _, word := range []uint32{
		rpcHeaderBytes, rpcProgramRemote, rpcVersion, rpcProcAuthList,
		0, // type: call
		0, // serial
		0, // status: ok
	} {
		question = binary.BigEndian.AppendUint32(question, word)
	}
	if _, err := conn.Write(question); err != nil {
		return err
	}
	answer := make([]byte, rpcHeaderBytes)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	length, program := binary.BigEndian.Uint32(answer), binary.BigEndian.Uint32(answer[4:])
	if length < rpcHeaderBytes || length > rpcLongestMessage || program != rpcProgramRemote {
		return fmt.Errorf("what answers is no libvirtd: check the port")
	}
	return nil
}
