package keyscope

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

const (
	dayLength  = 24 * time.Hour
	weekLength = 7 * dayLength
)

// ScopeID makes a scope id from its day, see [Day], and 14 random bytes.
func ScopeID(day uint16, random [14]byte) (id [16]byte) {
	binary.BigEndian.PutUint16(id[:], day)
	copy(id[2:], random[:])
	return id
}

// ScopeDay returns the day in a scope id.
func ScopeDay(id [16]byte) uint16 { return binary.BigEndian.Uint16(id[:]) }

// Day counts days in UTC since 1970-01-01. It stays at 0 before that and at 65,535 after 2149-06-06.
func Day(t time.Time) uint16 { return count(t, dayLength) }

// Week counts weeks of seven days since 1970-01-01, a Thursday. It stays at 0 before that day.
func Week(t time.Time) uint16 { return count(t, weekLength) }

// DayStart is the first instant of a day.
func DayStart(day uint16) time.Time {
	return time.Unix(int64(day)*int64(dayLength/time.Second), 0).UTC()
}

// WeekStart is the first instant of a week.
func WeekStart(week uint16) time.Time {
	return time.Unix(int64(week)*int64(weekLength/time.Second), 0).UTC()
}

func count(t time.Time, length time.Duration) uint16 {
	s := t.Unix()
	if s < 0 {
		return 0
	}
	return uint16(min(s/int64(length/time.Second), 0xffff))
}

// Tags stand for tenant, subject and session where the values themselves may not be. A zero tag stands for an empty
// value.
type Tags struct {
	Tenant, Subject, Session [16]byte
}

// Kinds of tags.
const (
	tagTenant  = 1
	tagSubject = 2
	tagSession = 3
)

// MakeTags computes the tags of three values under the pepper of the archive.
func MakeTags(pepper *[32]byte, tenant, subject, session []byte) Tags {
	return Tags{
		Tenant:  tag(pepper, tagTenant, tenant),
		Subject: tag(pepper, tagSubject, subject),
		Session: tag(pepper, tagSession, session),
	}
}

func tag(pepper *[32]byte, kind byte, value []byte) (t [16]byte) {
	if len(value) == 0 {
		return t
	}
	mac := hmac.New(sha256.New, pepper[:])
	mac.Write([]byte{kind})
	mac.Write(value)
	copy(t[:], mac.Sum(nil))
	return t
}

func (t *Tags) append(dst []byte) []byte {
	dst = append(dst, t.Tenant[:]...)
	dst = append(dst, t.Subject[:]...)
	return append(dst, t.Session[:]...)
}

// validClass tells whether s is a class name.
func validClass(s string) bool {
	if len(s) < 1 || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
