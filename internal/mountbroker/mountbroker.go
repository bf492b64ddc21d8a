// Package mountbroker is the contract between a job's pod, which may not mount, and the node's CSI driver, which may: over a socket in
// the pod's own volume the pod names a folder of that volume, and gets the open FUSE device of a file system mounted there. The pod
// serves the file system, so it lives exactly as long as the pod does, whatever becomes of the driver.
//
//	pod ── {"name":"inputs/data","readOnly":true} ─▶ driver: mkdir, open /dev/fuse, mount
//	pod ◀─ {} and the file descriptor ────────────── driver
package mountbroker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Driver is the name of the CSI driver.
const Driver = "blob.csi.fairlead.dev"

// ClaimDriver is the name of the CSI driver of PersistentVolumes, which are folders of datastores. What it mounts is served by pods with an
// inline volume of Driver that has ServesAttribute, the volume's handle; they ask for a mount with the name Served.
const (
	ClaimDriver     = "datastore.csi.fairlead.dev"
	ServesAttribute = "fairlead.dev/serves"
	Served          = "outputs/volume"
)

// Socket is the name of the broker's socket in the volume.
const Socket = "broker"

// maxPacket bounds a message; timeout is how long a peer may take for one.
const (
	maxPacket = 4 << 10
	timeout   = 10 * time.Second
)

// Request asks for one mount.
type Request struct {
	// Name is the folder below the volume: inputs/<name> or outputs/<name>.
	Name string `json:"name"`
	// ReadOnly makes the kernel refuse writes.
	ReadOnly bool `json:"readOnly,omitempty"`
}

type reply struct {
	Error string `json:"error,omitempty"`
}

var mountName = regexp.MustCompile(`^(inputs|outputs)/[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$`)

// Check says what is wrong with a request.
func (q Request) Check() error {
	if !mountName.MatchString(q.Name) || strings.Contains(q.Name, "..") {
		return fmt.Errorf("mount name is %q; it must be inputs/<name> or outputs/<name> with letters, digits, _, - and .", q.Name)
	}
	return nil
}

// ErrRefused is wrapped by errors that the broker itself answered; asking again gives the same.
var ErrRefused = errors.New("the node's CSI driver refused the mount")

// Ask returns the FUSE device of a new mount in the volume at dir.
func Ask(ctx context.Context, dir string, q Request) (*os.File, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "unixpacket", filepath.Join(dir, Socket))
	if err != nil {
		return nil, fmt.Errorf("reaching the node's CSI driver: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(b); err != nil {
		return nil, fmt.Errorf("asking the node's CSI driver for a mount: %w", err)
	}
	return receive(conn.(*net.UnixConn))
}

func receive(conn *net.UnixConn) (*os.File, error) {
	buf, oob := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, fmt.Errorf("reading the CSI driver's answer: %w", err)
	}
	fd, err := parseRights(oob[:oobn])
	if err != nil {
		return nil, err
	}
	var r reply
	if err := json.Unmarshal(buf[:n], &r); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the CSI driver's answer: %w", err), closeFD(fd))
	}
	if r.Error != "" {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrRefused, r.Error), closeFD(fd))
	}
	if fd < 0 {
		return nil, errors.New("the CSI driver answered without a file descriptor")
	}
	return os.NewFile(uintptr(fd), "/dev/fuse"), nil
}

// parseRights is the file descriptor in a control message; -1 when there is none.
func parseRights(oob []byte) (int, error) {
	if len(oob) == 0 {
		return -1, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, fmt.Errorf("reading the CSI driver's file descriptor: %w", err)
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil && len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			return fds[0], nil
		}
	}
	return -1, nil
}

func closeFD(fd int) error {
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// MountFunc mounts what a peer asks for and returns the FUSE device, which Serve closes once it is handed over. uid and gid are the peer's.
type MountFunc func(q Request, uid, gid uint32) (*os.File, error)

// Serve answers on l until it is closed.
func Serve(l *net.UnixListener, mount MountFunc) error {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a pod: %w", err)
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(timeout))
			answer(conn, mount)
		}()
	}
}

// answer handles one request. A pod that does not take its answer loses it.
func answer(conn *net.UnixConn, mount MountFunc) {
	buf := make([]byte, maxPacket)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	var r reply
	var rights []byte
	dev, err := handle(conn, buf[:n], mount)
	if err != nil {
		r.Error = err.Error()
	} else {
		defer dev.Close()
		rights = unix.UnixRights(int(dev.Fd()))
	}
	b, _ := json.Marshal(r)
	_, _, _ = conn.WriteMsgUnix(b, rights, nil)
}

func handle(conn *net.UnixConn, packet []byte, mount MountFunc) (*os.File, error) {
	var q Request
	if err := json.Unmarshal(packet, &q); err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	cred, err := peer(conn)
	if err != nil {
		return nil, fmt.Errorf("asking who the peer is: %w", err)
	}
	return mount(q, cred.Uid, cred.Gid)
}

func peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, inner)
}
