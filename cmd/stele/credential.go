package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// credential is what the commands need to know of a writer credential; docs/formats/identity.md has all of it.
type credential struct {
	Stele      string `json:"stele"`
	Archive    string `json:"archive"` // id, hex
	Service    string `json:"service"`
	To         string `json:"to"`
	Partitions int    `json:"partitions"`
	Intake     []struct {
		Week int64 `json:"week"`
	} `json:"intake"`
}

const week = 7 * 24 * time.Hour

// credential reads the writer credential of the settings.
func (s *site) credential() (c credential, err error) {
	text, err := s.credentialText()
	if err != nil {
		return c, err
	}
	return readCredential(text)
}

// credentialText is the file of the writer credential of the settings, which name its path, or hold the text itself.
func (s *site) credentialText() (string, error) {
	if err := s.Need("writer"); err != nil {
		return "", usage("", "%w", err)
	}
	text := strings.TrimSpace(s.Writer)
	if len(text) < 1000 && !strings.HasPrefix(text, "{") {
		data, err := os.ReadFile(text)
		if err != nil {
			return "", err
		}
		text = string(data)
	}
	return text, nil
}

// readCredential reads a credential: JSON, or the same in base64.
func readCredential(text string) (c credential, err error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{") {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return c, errors.New("the writer credential is neither JSON nor base64 of it")
		}
		text = string(raw)
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("the writer credential cannot be read: %w", err)
	}
	if c.Stele != "writer/v1" || c.Partitions < 1 {
		return c, fmt.Errorf("this is %q and no writer credential", c.Stele)
	}
	return c, nil
}

// weeksLeft says for how many weeks, this one included, the credential has intake keys.
func (c *credential) weeksLeft(now time.Time) int {
	this := now.Unix() / int64(week/time.Second) // weeks are counted from 1970-01-01
	left := int64(0)
	for _, k := range c.Intake {
		left = max(left, k.Week-this+1)
	}
	return int(left)
}
