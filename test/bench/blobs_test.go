package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"fairlead.dev/fairlead/internal/testing/s3test"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// gibEnv says how large the blob is, in GiB. The place it takes for a while is three times that, on S3 four times.
const gibEnv = "FAIRLEAD_BENCH_GIB"

// fileServer is what a large file goes to and comes from.
type fileServer struct {
	pid      int
	upload   func(ctx context.Context, body io.Reader, size int64) error
	download func(ctx context.Context) (io.ReadCloser, error)
	remove   func(ctx context.Context) error
}

// BenchmarkBlobs sends a large blob up and down, through Azure's own client where the server is one of blobs. Growth is by how much
// the server's memory is larger at its peak than before. All servers do TLS with one certificate.
func BenchmarkBlobs(b *testing.B) {
	gib, err := strconv.ParseFloat(cmp.Or(os.Getenv(gibEnv), "10"), 64)
	if err != nil {
		b.Fatalf("%s: %v", gibEnv, err)
	}
	size := int64(gib * (1 << 30))
	b.Run("Fairlead, a folder", func(b *testing.B) { benchBlobs(b, size, fairleadBlobs(b, startServer(b, "sqlite"))) })
	b.Run("Fairlead, S3", func(b *testing.B) {
		s3 := s3test.Start(b)
		s3.Bucket(b, "blobs")
		b.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKeyID)
		b.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretAccessKey)
		where := "s3://blobs?region=" + s3test.Region + "&use_path_style=true&endpoint=" + s3.Endpoint
		benchBlobs(b, size, fairleadBlobs(b, startServer(b, "sqlite", "--blobs", where)))
	})
	b.Run("Azurite", func(b *testing.B) { benchBlobs(b, size, startAzurite(b)) })
	b.Run("nginx", func(b *testing.B) { benchBlobs(b, size, startNginx(b)) })
}

func benchBlobs(b *testing.B, size int64, s *fileServer) {
	needRoom(b, 4*size)
	want := crc32.New(castagnoli)
	_, _ = io.Copy(want, &stamped{left: size})
	for b.Loop() {
		before := memory(b, s.pid, "VmRSS")
		// The peak of what is resident begins anew.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.pid), []byte("5"), 0); err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if err := s.upload(b.Context(), &stamped{left: size}, size); err != nil {
			b.Fatal(err)
		}
		up := time.Since(begin)
		afterUp := memory(b, s.pid, "VmHWM")
		begin = time.Now()
		body, err := s.download(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		got := crc32.New(castagnoli)
		n, err := io.Copy(got, body)
		if err != nil || n != size || got.Sum32() != want.Sum32() {
			b.Fatalf("%d bytes of %d came back, or others: %v", n, size, err)
		}
		body.Close()
		down := time.Since(begin)
		b.ReportMetric(float64(size)/1e6/up.Seconds(), "up-MB/s")
		b.ReportMetric(float64(size)/1e6/down.Seconds(), "down-MB/s")
		b.ReportMetric(float64(afterUp-before)/(1<<20), "growth-up-MiB")
		b.ReportMetric(float64(memory(b, s.pid, "VmHWM")-before)/(1<<20), "growth-MiB")
		b.ReportMetric(0, "ns/op")
		if err := s.remove(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamped is noise that costs nothing to make: the same MiB again and again, with where it is at its beginning.
type stamped struct {
	left, at int64
	buf      []byte
}

func (s *stamped) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.buf == nil {
		s.buf = make([]byte, 1<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(s.buf) // never fails
	}
	in := s.at % int64(len(s.buf))
	if in == 0 {
		binary.BigEndian.PutUint64(s.buf, uint64(s.at))
	}
	n := copy(p[:min(int64(len(p)), s.left)], s.buf[in:])
	s.at, s.left = s.at+int64(n), s.left-int64(n)
	return n, nil
}

// needRoom skips what the disk has no room for.
func needRoom(b *testing.B, bytes int64) {
	b.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &st); err != nil {
		b.Fatal(err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes {
		b.Skipf("%s has %d GiB free and %d are needed; make the blob smaller with %s", os.TempDir(), free>>30, bytes>>30, gibEnv)
	}
}

// memory is one of a process's figures in /proc, in bytes.
func memory(b *testing.B, pid int, name string) int64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), name+":")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatalf("reading %s of process %d: %v", name, pid, err)
	}
	return kib << 10
}

func fairleadBlobs(b *testing.B, s *server) *fileServer {
	ws := s.group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	for _, id := range []string{s.group, ws} {
		if _, err := s.Do(b.Context(), http.MethodPut, id+serverproc.APIVersion, `{"location":"local","properties":{}}`); err != nil {
			b.Fatal(err)
		}
	}
	c, err := azblob.NewClientWithNoCredential(s.Base+"/blob/"+s.account(b, ws), &azblob.ClientOptions{ClientOptions: transport(bearer{s.Client})})
	if err != nil {
		b.Fatal(err)
	}
	return blobServer(c, "azureml", s.PID)
}

// account is the name of a workspace's storage account.
func (s *server) account(b *testing.B, ws string) string {
	b.Helper()
	raw, err := s.Do(b.Context(), http.MethodGet, ws+serverproc.APIVersion, "")
	if err != nil {
		b.Fatal(err)
	}
	var made struct {
		Properties struct{ StorageAccount string }
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		b.Fatal(err)
	}
	return made.Properties.StorageAccount[strings.LastIndexByte(made.Properties.StorageAccount, '/')+1:]
}

// bearer sends a client's token along.
type bearer struct{ serverproc.Client }

func (t bearer) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+t.Token)
	return t.HTTP.Do(req)
}

// blobServer is any server of blobs, by Azure's client with blocks of 8 MiB, four at once.
func blobServer(c *azblob.Client, container string, pid int) *fileServer {
	const name = "large.bin"
	return &fileServer{pid: pid,
		upload: func(ctx context.Context, body io.Reader, _ int64) error {
			_, err := c.UploadStream(ctx, container, name, body, &blockblob.UploadStreamOptions{BlockSize: 8 << 20, Concurrency: 4})
			return err
		},
		download: func(ctx context.Context) (io.ReadCloser, error) {
			res, err := c.DownloadStream(ctx, container, name, nil)
			return res.Body, err
		},
		remove: func(ctx context.Context) error {
			_, err := c.DeleteBlob(ctx, container, name, nil)
			return err
		},
	}
}
