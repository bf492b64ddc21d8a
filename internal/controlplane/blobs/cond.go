package blobs

import (
	"net/http"
	"strings"
	"time"
)

var errConditionNotMet = errorf(http.StatusPreconditionFailed, "ConditionNotMet",
	"The condition specified using HTTP conditional header(s) is not met.")

func etagListed(list, etag string) bool {
	for _, v := range strings.Split(list, ",") {
		v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
		if v == "*" || strings.Trim(v, `"`) == strings.Trim(etag, `"`) {
			return true
		}
	}
	return false
}

// checkRead applies the conditional headers of a GET or HEAD.
func checkRead(h http.Header, i *info) error {
	if m := h.Get("If-Match"); m != "" && !etagListed(m, i.etag) {
		return errConditionNotMet
	}
	if t, ok := headerTime(h, "If-Unmodified-Since"); ok && i.modTime.Truncate(time.Second).After(t) {
		return errConditionNotMet
	}
	notModified := errorf(http.StatusNotModified, "ConditionNotMet", "not modified")
	if m := h.Get("If-None-Match"); m != "" {
		if etagListed(m, i.etag) {
			return notModified
		}
		return nil
	}
	if t, ok := headerTime(h, "If-Modified-Since"); ok && !i.modTime.Truncate(time.Second).After(t) {
		return notModified
	}
	return nil
}

// checkWrite applies the conditional headers of a write to a blob that is i now (nil: does not exist).
func checkWrite(h http.Header, i *info) error {
	if i == nil {
		if h.Get("If-Match") != "" || h.Get("If-Unmodified-Since") != "" {
			return errConditionNotMet
		}
		return nil
	}
	if m := h.Get("If-Match"); m != "" && !etagListed(m, i.etag) {
		return errConditionNotMet
	}
	if m := strings.TrimSpace(h.Get("If-None-Match")); m == "*" {
		return errorf(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists: %s.", i.name)
	} else if m != "" && etagListed(m, i.etag) {
		return errConditionNotMet
	}
	if t, ok := headerTime(h, "If-Unmodified-Since"); ok && i.modTime.Truncate(time.Second).After(t) {
		return errConditionNotMet
	}
	if t, ok := headerTime(h, "If-Modified-Since"); ok && !i.modTime.Truncate(time.Second).After(t) {
		return errConditionNotMet
	}
	return nil
}

func headerTime(h http.Header, key string) (time.Time, bool) {
	t, err := http.ParseTime(h.Get(key))
	return t, err == nil
}
