//go:build cgo

package libvirt

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stddef.h>

// libvirt's stable ABI, as far as virConnectGetAllDomainStats needs it.
typedef struct {
	char field[80]; // VIR_TYPED_PARAM_FIELD_LENGTH
	int type;
	union { int i; unsigned int ui; long long l; unsigned long long ul; double d; char b; char *s; } value;
} hf_param;
typedef struct { void *dom; hf_param *params; int nparams; } hf_record;
typedef struct { int code, domain; char message[512]; } hf_error;

static int (*hf_get)(void *conn, unsigned int stats, hf_record ***out, unsigned int flags);
static void (*hf_free)(hf_record **records);
static int (*hf_uuid)(void *dom, char *buf);
static const char *(*hf_name)(void *dom);
static int (*hf_code)(void);
static int (*hf_domain)(void);
static const char *(*hf_message)(void);

// hf_resolve finds the functions in the library that the binding has opened,
// and returns the name of the first one that is missing.
static const char *hf_resolve(void) {
	void *lib = dlopen("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL) return "libvirt.so.0";
	if (!(hf_get = dlsym(lib, "virConnectGetAllDomainStats"))) return "virConnectGetAllDomainStats";
	if (!(hf_free = dlsym(lib, "virDomainStatsRecordListFree"))) return "virDomainStatsRecordListFree";
	if (!(hf_uuid = dlsym(lib, "virDomainGetUUIDString"))) return "virDomainGetUUIDString";
	if (!(hf_name = dlsym(lib, "virDomainGetName"))) return "virDomainGetName";
	if (!(hf_code = dlsym(lib, "virGetLastErrorCode"))) return "virGetLastErrorCode";
	if (!(hf_domain = dlsym(lib, "virGetLastErrorDomain"))) return "virGetLastErrorDomain";
	if (!(hf_message = dlsym(lib, "virGetLastErrorMessage"))) return "virGetLastErrorMessage";
	return NULL;
}

// The error is the thread's, so it is fetched before the thread is left.
static int hf_stats(void *conn, unsigned int stats, hf_record ***out, unsigned int flags, hf_error *err) {
	int n = hf_get(conn, stats, out, flags);
	if (n < 0) {
		err->code = hf_code();
		err->domain = hf_domain();
		snprintf(err->message, sizeof err->message, "%s", hf_message());
	}
	return n;
}
static void hf_stats_free(hf_record **records) { hf_free(records); }
static const char *hf_identify(void *dom, char *uuid) { return hf_uuid(dom, uuid) < 0 ? NULL : hf_name(dom); }
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	lv "libvirt.org/go/libvirt"
)

// The binding's own GetAllDomainStats asks the host once more for every domain
// in the answer (its number of vCPUs) and goes through the parameters dozens of
// times: 17 ms for the states of 65 domains on one machine, where the one call
// that it is about takes 0.6 ms. So that one call is made here.

// virTypedParameterType and VIR_UUID_STRING_BUFLEN.
const (
	typeInt       = 1
	typeUint      = 2
	typeLlong     = 3
	typeUllong    = 4
	typeBoolean   = 6
	typeString    = 7
	uuidStringLen = 37
)

// resolveBulk must succeed before allDomainStats is called. Not for concurrent use.
func resolveBulk() error {
	if missing := C.hf_resolve(); missing != nil {
		return fmt.Errorf("the libvirt library lacks %s: install libvirt 4.5 or later", C.GoString(missing))
	}
	return nil
}

// param is one typed parameter of a domain. Only one of Number and Text is set;
// Number holds the bits of every integer type.
type param struct {
	Key    string
	Number uint64
	Text   string
}

// record is what one domain has to say.
type record struct {
	UUID, Name string
	Params     []param
}

// allDomainStats is virConnectGetAllDomainStats: one round trip.
func allDomainStats(conn unsafe.Pointer, types lv.DomainStatsTypes, flags lv.ConnectGetAllDomainStatsFlags) ([]record, error) {
	var out **C.hf_record
	var cerr C.hf_error
	n := C.hf_stats(conn, C.uint(types), &out, C.uint(flags), &cerr)
	if n < 0 {
		return nil, lv.Error{
			Code: lv.ErrorNumber(cerr.code), Domain: lv.ErrorDomain(cerr.domain),
			Message: C.GoString(&cerr.message[0]), Level: lv.ERR_ERROR,
		}
	}
	defer C.hf_stats_free(out)
	records := make([]record, 0, n)
	for _, rec := range unsafe.Slice(out, n) {
		var uuid [uuidStringLen]C.char
		name := C.hf_identify(rec.dom, &uuid[0])
		if name == nil {
			return nil, errors.New("libvirt reported a domain without a UUID")
		}
		r := record{UUID: C.GoString(&uuid[0]), Name: C.GoString(name), Params: make([]param, 0, rec.nparams)}
		params := unsafe.Slice(rec.params, rec.nparams)
		for i := range params {
			r.Params = append(r.Params, readParam(&params[i]))
		}
		records = append(records, r)
	}
	return records, nil
}

func readParam(p *C.hf_param) param {
	field := unsafe.Slice((*byte)(unsafe.Pointer(&p.field[0])), len(p.field))
	if end := bytes.IndexByte(field, 0); end >= 0 {
		field = field[:end]
	}
	out := param{Key: string(field)}
	value := unsafe.Pointer(&p.value)
	switch p._type {
	case typeInt:
		out.Number = uint64(int64(*(*int32)(value)))
	case typeUint:
		out.Number = uint64(*(*uint32)(value))
	case typeLlong, typeUllong:
		out.Number = *(*uint64)(value)
	case typeBoolean:
		out.Number = uint64(*(*byte)(value))
	case typeString:
		out.Text = C.GoString(*(**C.char)(value))
	}
	return out
}
