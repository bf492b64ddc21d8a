package blobs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// serveDir makes the test's program a server of the folder that it names.
const serveDir = "FAIRLEAD_TEST_BLOBS"

// serveFolder serves a folder until the process is killed, and prints a signature's address.
func serveFolder(dir string) {
	bucket, err := Open(context.Background(), dir)
	if err != nil {
		panic(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	f := New(Config{Bucket: bucket, PublicURL: "http://" + srv.Listener.Addr().String(), SASKey: make([]byte, 32)})
	srv.Config.Handler = f.Handler()
	srv.Start()
	fmt.Println(f.SAS(acct, "azureml", "", "racwdl", time.Hour))
	_, _ = io.Copy(io.Discard, os.Stdin) // also ends with the test
	os.Exit(0)
}

// server is a process that serves a folder.
func server(t *testing.T, dir string) (address string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// TestUploadsGoOn: what was sent before the server was killed need not be sent again.
func TestUploadsGoOn(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	data := make([]byte, 5<<20+17)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	const blockSize = 1 << 20
	id := func(k int) string { return base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%05d", k))) }
	blob := func(address string) *blockblob.Client {
		base, sig, _ := strings.Cut(address, "?")
		b, err := blockblob.NewClientWithNoCredential(base+"/model.bin?"+sig, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var ids []string
	send := func(b *blockblob.Client, missing map[string]bool) {
		t.Helper()
		ids = nil
		for k, at := 0, 0; at < len(data); k, at = k+1, at+blockSize {
			if ids = append(ids, id(k)); !missing[id(k)] {
				continue
			}
			part := bytes.NewReader(data[at:min(at+blockSize, len(data))])
			if _, err := b.StageBlock(ctx, id(k), streaming.NopCloser(part), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	address, kill := server(t, dir)
	send(blob(address), map[string]bool{id(0): true, id(1): true, id(3): true})
	kill()

	address, kill = server(t, dir)
	defer kill()
	b := blob(address)
	list, err := b.GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
	if err != nil || len(list.UncommittedBlocks) != 3 {
		t.Fatalf("%d blocks are left, %v", len(list.UncommittedBlocks), err)
	}
	missing := map[string]bool{id(0): true, id(1): true, id(2): true, id(3): true, id(4): true, id(5): true}
	for _, u := range list.UncommittedBlocks {
		delete(missing, *u.Name)
	}
	send(b, missing)
	if _, err := b.CommitBlockList(ctx, ids, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := b.DownloadBuffer(ctx, got, nil); err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("another content came back, %v", err)
	}
}
