package control

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
)

// Policy is who may do what, whole; each version replaces the one before.
type Policy struct {
	Version     uint64       `json:"version"`
	Classes     []Class      `json:"classes"`
	Root        string       `json:"root"`
	Approvers   []Named      `json:"approvers,omitempty"` // two of them together: erase, release, change this policy
	Holders     []Named      `json:"holders,omitempty"`   // may place holds, as approvers may
	Compactors  []Named      `json:"compactors"`
	KeyServices []Named      `json:"keyservices,omitempty"`
	Readers     []Reader     `json:"readers"`
	Writers     []Writer     `json:"writers"`
	Intake      []Intake     `json:"intake"`
	Revoked     []Revocation `json:"revoked,omitempty"`
	Lock        Lock         `json:"lock"`
	Erasure     *Erasure     `json:"erasure,omitempty"` // what is erased without a request
	Partitions  uint32       `json:"partitions"`
	Period      string       `json:"period"` // of logs: commit.Periods
}

// Class is a retention class.
type Class struct {
	Name string `json:"name"`
	Keep Days   `json:"keep"`          // how long its objects are locked
	TTL  Days   `json:"ttl,omitempty"` // when its keys die by themselves; 0: never
	Min  Days   `json:"min,omitempty"` // for how long no request erases it
}

// Erasure is what is erased without a request: scopes of Session classes when their session ends and, with TTL, those of
// a class that has one, when it is over.
type Erasure struct {
	Session []string `json:"session,omitempty"`
	TTL     bool     `json:"ttl,omitempty"`
}

// Days is a number of days.
type Days uint16

// Duration is d days.
func (d Days) Duration() time.Duration { return time.Duration(d) * 24 * time.Hour }

// Named is a key with the name of its holder.
type Named struct {
	Name string `json:"name"`
	Key  string `json:"key"` // vkey
}

// Reader may open payloads.
type Reader struct {
	Name string `json:"name"`
	Key  []byte `json:"key"`  // HPKE public key
	Sign string `json:"sign"` // vkey
}

// Writer may append. With Revoked set it opens no new stream.
type Writer struct {
	Name    string     `json:"name"`
	Key     []byte     `json:"key"` // Ed25519 public key of the service
	Revoked *time.Time `json:"revoked,omitempty"`
}

// Intake is the public intake key of a week.
type Intake struct {
	Week uint16 `json:"week"`
	Key  []byte `json:"key"`
}

// Revocation withdraws the key of a compactor or a key service. Of a compactor's, what heads in the log name by hash stands; Last
// is up to which commit its own heads bind those who go on with a log.
type Revocation struct {
	Key  string            `json:"key"` // vkey
	Last map[string]uint64 `json:"last"`
}

// Lock is how objects are held.
type Lock struct {
	Mode string `json:"mode"`
	Keep Days   `json:"keep"`
}

// Roles, as they stand in names of keys.
const (
	RoleApprover   = "approver"
	RoleHolder     = "holder"
	RoleReader     = "reader"
	RoleCompactor  = "compactor"
	RoleKeyService = "keyservice"
	roleRoot       = "root"
)

// Dual reports whether the policy names two approvers: from then on the policy root decides nothing alone.
func (p *Policy) Dual() bool { return p != nil && len(p.Approvers) >= 2 }

// Class returns a retention class of the policy; one that it does not name is treated as default.
func (p *Policy) Class(name string) Class {
	for _, c := range p.Classes {
		if c.Name == name {
			return c
		}
	}
	return Class{Name: name, Keep: p.Lock.Keep}
}

// Longest is how long the longest-kept class is kept: as long as that, commits, indexes and the control log are needed.
func (p *Policy) Longest() time.Duration {
	keep := p.Lock.Keep
	for _, c := range p.Classes {
		keep = max(keep, c.Keep)
	}
	return keep.Duration()
}

// IntakeOf is the public intake key of the newest week that is not after week.
func (p *Policy) IntakeOf(week uint16) (in Intake, ok bool) {
	for _, k := range p.Intake {
		if k.Week <= week && (!ok || k.Week > in.Week) {
			in, ok = k, true
		}
	}
	return in, ok
}

// Governed is the SHA-256 of what only two approvers change: all but the version, the writers and the intake keys.
func (p *Policy) Governed() commit.Hex32 {
	c := *p
	c.Version, c.Writers, c.Intake = 0, nil, nil
	line, _ := commit.MarshalLine(c) // a Policy can always be written
	return sha256.Sum256(line)
}

// keyOf is the vkey of the holder of a role with a key name, "" if there is none.
func (p *Policy) keyOf(archive, role, by string) string {
	if p == nil {
		return ""
	}
	for _, n := range p.named(role) {
		if identity.KeyName(archive, role, n.Name) == by {
			return n.Key
		}
	}
	return ""
}

func (p *Policy) named(role string) []Named {
	switch role {
	case RoleApprover:
		return p.Approvers
	case RoleHolder:
		return p.Holders
	case RoleCompactor:
		return p.Compactors
	case RoleKeyService:
		return p.KeyServices
	case RoleReader:
		out := make([]Named, len(p.Readers))
		for i, r := range p.Readers {
			out[i] = Named{r.Name, r.Sign}
		}
		return out
	}
	return nil
}

// Check reports what is wrong with a policy of an archive, whoever it is from.
func (p *Policy) Check(trust *identity.Trust) error {
	if p.Root != trust.Root {
		return errors.New("the policy root is that of the trust file and cannot be changed")
	}
	seen := map[string]string{}
	for what, vkey := range map[string]string{"the policy root": trust.Root, "the control log": trust.Log} {
		key, err := publicKey(vkey)
		if err != nil {
			return err
		}
		seen[key] = what
	}
	for _, role := range []string{RoleApprover, RoleHolder, RoleCompactor, RoleKeyService, RoleReader} {
		names := map[string]bool{}
		for _, n := range p.named(role) {
			who := role + " " + n.Name
			switch v, err := note.NewVerifier(n.Key); {
			case !identity.ValidName(n.Name):
				return fmt.Errorf("%q is no name of role %s", n.Name, role)
			case names[n.Name]:
				return fmt.Errorf("%s is there twice", who)
			case err != nil:
				return fmt.Errorf("key of %s: %w", who, err)
			case v.Name() != identity.KeyName(trust.Name, role, n.Name):
				return fmt.Errorf("the key of %s is named %s", who, v.Name())
			}
			names[n.Name] = true
			key, err := publicKey(n.Key)
			if err != nil {
				return fmt.Errorf("key of %s: %w", who, err)
			}
			if other, taken := seen[key]; taken {
				return fmt.Errorf("%s and %s have the same key; every role needs a key of its own", who, other)
			}
			seen[key] = who
		}
	}
	if err := p.checkRevoked(trust.Name); err != nil {
		return err
	}
	return p.checkClasses()
}

func (p *Policy) checkClasses() error {
	names := map[string]bool{}
	for _, c := range p.Classes {
		switch {
		case names[c.Name]:
			return fmt.Errorf("class %s is there twice", c.Name)
		case c.TTL > 0 && c.TTL < c.Min:
			return fmt.Errorf("class %s dies after %d days and must be kept for %d", c.Name, c.TTL, c.Min)
		}
		names[c.Name] = true
	}
	if p.Erasure == nil {
		return nil
	}
	for _, c := range p.Erasure.Session {
		if !names[c] {
			return fmt.Errorf("class %s, which is to end with its session, is not in the policy", c)
		}
	}
	return nil
}

// publicKey is the key in a vkey, without its name.
func publicKey(vkey string) (string, error) {
	_, tail, _ := strings.Cut(vkey, "+")
	_, b64, _ := strings.Cut(tail, "+")
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return "", errors.New("no Ed25519 key")
	}
	return string(raw[1:]), nil
}

// dayToDay reports why a policy is not one that the policy root may make alone when there are two approvers: new writers
// under names and keys that none has had, and revocations.
func (p *Policy) dayToDay(old *Policy) error {
	if p.Governed() != old.Governed() {
		return errors.New("it changes more than writers, which takes a request and two approvers")
	}
	if len(p.Intake) != len(old.Intake) || len(p.Writers) < len(old.Writers) {
		return errors.New("it changes intake keys or removes writers")
	}
	for i, k := range old.Intake {
		if p.Intake[i].Week != k.Week || string(p.Intake[i].Key) != string(k.Key) {
			return errors.New("it changes intake keys")
		}
	}
	for i, w := range p.Writers {
		if i < len(old.Writers) {
			was := old.Writers[i]
			kept := was.Revoked == nil || w.Revoked != nil && w.Revoked.Equal(*was.Revoked)
			if was.Name != w.Name || string(was.Key) != string(w.Key) || !kept {
				return fmt.Errorf("it changes writer %s", was.Name)
			}
			continue
		}
		if slices.ContainsFunc(p.Writers[:i], func(x Writer) bool { return x.Name == w.Name || string(x.Key) == string(w.Key) }) {
			return fmt.Errorf("a writer has, or had, the name or the key of %s", w.Name)
		}
	}
	return nil
}

// Cause is why something is to be erased.
type Cause string

// Causes of erasures, the strongest first.
const (
	CauseRequest Cause = "request"
	CauseSession Cause = "session"
	CauseTTL     Cause = "ttl"
)

// Verdict says whether a scope may be erased. If not, Why is "held", "retained" (until Until) or "policy".
type Verdict struct {
	Erase bool
	Why   string
	Until time.Time
}

// Erasable is the precedence: a hold beats minimum retention, which beats a request, which beats what happens by itself.
func (p *Policy) Erasable(class string, start, now time.Time, held bool, cause Cause) Verdict {
	c := p.Class(class)
	kept := start.Add(c.Min.Duration())
	switch {
	case held:
		return Verdict{Why: "held"}
	case c.Min > 0 && now.Before(kept):
		return Verdict{Why: "retained", Until: kept}
	case cause != CauseRequest && !p.Allows(c, cause):
		return Verdict{Why: "policy"}
	}
	return Verdict{Erase: true}
}

// Allows reports whether keys of a class go by a cause other than a request.
func (p *Policy) Allows(c Class, cause Cause) bool {
	return cause == CauseTTL && p.Erasure != nil && p.Erasure.TTL && c.TTL > 0 || cause == CauseSession && p.Ends(c.Name)
}

// Ends reports whether scopes of a class are erased when their session ends.
func (p *Policy) Ends(class string) bool {
	return p.Erasure != nil && slices.Contains(p.Erasure.Session, class)
}
