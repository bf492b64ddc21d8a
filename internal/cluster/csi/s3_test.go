package csi

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/datastores/datastorestest"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// TestAJobReadsAndWritesS3: all ways in and out of a datastore in somebody else's S3, while its artifacts go to the blob front.
func TestAJobReadsAndWritesS3(t *testing.T) {
	s := s3test.Start(t)
	s.Bucket(t, "lake")
	front := datastorestest.New(t, datastorestest.Config{
		Datastores: map[string]string{"lake": datastorestest.Body(s.Endpoint, `"prefix":"team",`)},
		Authorize: func(p resource.Principal, at dataaddress.Address, write bool) error {
			if p.ID != blobtest.Token || write && !strings.HasPrefix(at.Path, "out/") {
				return blobs.Refusef("%s is not to write %q", p.ID, at.Path)
			}
			return nil
		}})
	n := newNode(t)
	p := newPod(t, n.publish("p1"), `set -e; m=${{outputs.mounted}}
grep ' fuse' /proc/mounts | grep -c " ${m%/outputs/mounted}/"; find ${{inputs.mounted}} -type f | sed "s|.*/mounted/||" | sort; tail -c 3 ${{inputs.mounted}}/big; cat ${{inputs.copied}}/a/b ${{inputs.file}}
cat $m/kept; rm $m/gone; echo more >> $m/kept; cp ${{inputs.mounted}}/big $m/.tmp; mv $m/.tmp $m/big
cd ${{inputs.changed}}; sed -i s/a/b/ word; rm old; mkdir -p new; echo n > new/n
echo u > ${{outputs.uploaded}}/u; head -c 9000000 /dev/zero > ${{outputs.uploaded}}/parts; echo f > ${{outputs.file}}`)
	p.cfg.HTTP = &http.Client{}
	root := front.Account + "/lake"
	p.spec.Version, p.spec.DatastoreBase = commonruntime.Version3, front.Base+"/"
	p.spec.Inputs = map[string]commonruntime.Input{
		"mounted": {Type: "uri_folder", Mode: "ReadOnlyMount", URL: root + "/set"},
		"copied":  {Type: "uri_folder", Mode: "Download", URL: root + "/set"},
		"changed": {Type: "uri_folder", Mode: "ReadWriteMount", Write: true, URL: root + "/out/c"},
		"file":    {Type: "uri_file", Mode: "Download", URL: root + "/set/a/b"},
	}
	p.spec.Outputs = map[string]commonruntime.Output{
		"mounted":  {Type: "uri_folder", Mode: "ReadWriteMount", URL: root + "/out/m"},
		"uploaded": {Type: "uri_folder", Mode: "Upload", URL: root + "/out/u"},
		"file":     {Type: "uri_file", Mode: "Upload", URL: root + "/out/f"},
	}
	big := strings.Repeat("0123456789", 2_000_000) + "end"
	s.Put(t, "lake", "team/set/big", big)
	s.Put(t, "lake", "team/set/a/b", "small\n")
	s.Put(t, "lake", "team/out/m/kept", "kept\n")
	s.Put(t, "lake", "team/out/m/gone", "gone")
	s.Put(t, "lake", "team/out/c/word", "a\n")
	s.Put(t, "lake", "team/out/c/old", "old")
	if r := p.run(); r.ExitCode != 0 {
		t.Fatalf("result %+v, output %s", r, p.out)
	}
	if got, want := p.out.String(), "3\na/b\nbig\nendsmall\nsmall\nkept\n"; got != want {
		t.Errorf("output\n%s\nwant\n%s", got, want)
	}
	for key, want := range map[string]string{"out/m/kept": "kept\nmore\n", "out/m/big": big, "out/u/u": "u\n", "out/u/parts": strings.Repeat("\x00", 9000000), "out/f": "f\n", "out/c/word": "b\n", "out/c/new/n": "n\n"} {
		if got, ok := s.Get(t, "lake", "team/"+key); !ok || got != want {
			t.Errorf("%s has %d bytes, want %d", key, len(got), len(want))
		}
	}
	for _, key := range []string{"out/m/gone", "out/m/.tmp", "out/c/old"} {
		if _, ok := s.Get(t, "lake", "team/"+key); ok {
			t.Errorf("%s is there", key)
		}
	}
	if _, ok := p.blobs.Get("acct/azureml/ExperimentRun/dcid.run1/user_logs/std_log.txt"); !ok {
		t.Error("the log is not among the run's artifacts")
	}
}
