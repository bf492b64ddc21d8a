package tracking_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestPagesAreBounded: what a run has of data sets is bounded, and a page of runs ends where it would be too large, wherever that is.
func TestPagesAreBounded(t *testing.T) {
	w := newWorld(t)
	profile := strings.Repeat("x", 3_900_000)
	log := func(run string, n int) (int, string) {
		return w.ask("POST", "mlflow/runs/log-inputs", fmt.Sprintf(`{"run_id":%q,"datasets":[{"dataset":{"name":"d%d","digest":"1","source_type":"local","source":"s","profile":%q}}]}`, run, n, profile))
	}
	const runs = 4
	var last string
	for i := range runs {
		last = field(w.must("POST", "mlflow/runs/create", fmt.Sprintf(`{"experiment_id":"0","start_time":%d}`, i+1)), "run", "info", "run_id").(string)
		for n := range 4 {
			if status, text := log(last, n); status != http.StatusOK {
				t.Fatalf("%d %s", status, text)
			}
		}
	}
	if status, text := log(last, 4); status != http.StatusBadRequest || !strings.Contains(text, "at most 1000 datasets of together 16777216 bytes") {
		t.Errorf("a fifth was taken: %d %s", status, text)
	}
	for _, order := range []string{"", `,"order_by":["start_time ASC"]`} {
		var ids []any
		pages, token := 0, ""
		for {
			page := w.must("POST", "mlflow/runs/search", `{"experiment_ids":["0"],"max_results":1000,"page_token":"`+token+`"`+order+`}`)
			for _, r := range page["runs"].([]any) {
				ids = append(ids, field(r.(map[string]any), "info", "run_id"))
			}
			pages++
			if token, _ = page["next_page_token"].(string); token == "" {
				break
			}
		}
		if pages != 2 || len(ids) != runs || ids[0] == ids[3] {
			t.Errorf("order %q: %d pages of %v", order, pages, ids)
		}
	}
}

// TestPagesOfTags: a page of runs ends where their tags would be too large.
func TestPagesOfTags(t *testing.T) {
	w := newWorld(t)
	const runs = 5
	for i := range runs {
		id := field(w.must("POST", "mlflow/runs/create", fmt.Sprintf(`{"experiment_id":"0","start_time":%d}`, i+1)), "run", "info", "run_id").(string)
		for n := range 9 {
			var tags []string
			for k := range 100 {
				tags = append(tags, fmt.Sprintf(`{"key":"t%d","value":%q}`, 100*n+k, strings.Repeat("x", 8000)))
			}
			w.must("POST", "mlflow/runs/log-batch", fmt.Sprintf(`{"run_id":%q,"tags":[%s]}`, id, strings.Join(tags, ",")))
		}
	}
	first := w.must("POST", "mlflow/runs/search", `{"experiment_ids":["0"]}`)
	token, _ := first["next_page_token"].(string)
	second := w.must("POST", "mlflow/runs/search", `{"experiment_ids":["0"],"page_token":"`+token+`"}`)
	if a, b := len(first["runs"].([]any)), len(second["runs"].([]any)); a != runs-1 || b != 1 || second["next_page_token"] != nil {
		t.Errorf("pages of %d and %d, then %v", a, b, second["next_page_token"])
	}
}

// TestHistoryIsBounded: a history comes in pages also when nobody asks for them.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	id := field(w.must("POST", "mlflow/runs/create", `{"experiment_id":"0"}`), "run", "info", "run_id").(string)
	const most, more = 25000, 7
	for begin := 0; begin < most+more; begin += 1000 {
		var points []string
		for i := begin; i < min(begin+1000, most+more); i++ {
			points = append(points, fmt.Sprintf(`{"key":"m","value":%d,"timestamp":%d,"step":%d}`, i, i, i))
		}
		w.must("POST", "mlflow/runs/log-batch", fmt.Sprintf(`{"run_id":%q,"metrics":[%s]}`, id, strings.Join(points, ",")))
	}
	for _, asked := range []string{"", "&max_results=1000000"} {
		first := w.must("GET", "mlflow/metrics/get-history?run_id="+id+"&metric_key=m"+asked, "")
		token, _ := first["next_page_token"].(string)
		second := w.must("GET", "mlflow/metrics/get-history?run_id="+id+"&metric_key=m&page_token="+token, "")
		if a, b := len(first["metrics"].([]any)), len(second["metrics"].([]any)); a != most || b != more || second["next_page_token"] != nil {
			t.Errorf("pages of %d and %d, then %v", a, b, second["next_page_token"])
		}
	}
}

// TestParamsOfOneKey: what a run has under other keys is not looked at, and what it has under this one is not changed.
func TestParamsOfOneKey(t *testing.T) {
	w := newWorld(t)
	id := field(w.must("POST", "mlflow/runs/create", `{"experiment_id":"0"}`), "run", "info", "run_id").(string)
	set := func(key, value string) int {
		status, _ := w.ask("POST", "mlflow/runs/log-parameter", fmt.Sprintf(`{"run_id":%q,"key":%q,"value":%q}`, id, key, value))
		return status
	}
	if got := []int{set("a", "1"), set("b", "2"), set("a", "1"), set("a", "2")}; fmt.Sprint(got) != "[200 200 200 400]" {
		t.Errorf("answers %v", got)
	}
}
