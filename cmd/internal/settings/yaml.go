package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stelelog/stele/backup/location"
)

// readFile takes in stele.yaml. Paths in it are relative to the file, so that its directory can be moved.
func (s *Settings) readFile() error {
	data, err := os.ReadFile(s.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: 'stele init' makes one", s.sources["config"], err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.sources["config"], err)
	}
	root, err := mapping(data)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Config, err)
	}
	if root == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		source := fmt.Sprintf("%s:%d", s.Config, key.Line)
		if seen[key.Value] {
			return fmt.Errorf("%s: %s appears twice", source, key.Value)
		}
		seen[key.Value] = true
		if err := s.member(source, key, value); err != nil {
			return err
		}
	}
	return nil
}

// mapping parses one YAML document that is a mapping; nil stands for an empty one.
func mapping(data []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one document")
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		return root, nil
	case root.Tag == "!!null":
		return nil, nil
	}
	return nil, fmt.Errorf("line %d: is no mapping of settings to values", root.Line)
}

func (s *Settings) member(source string, key, value *yaml.Node) error {
	var field *Field
	var known []string
	for _, f := range fields() {
		if f.Name == key.Value {
			field = &f
		}
		if !f.secret {
			known = append(known, f.Name)
		}
	}
	if field == nil {
		return fmt.Errorf("%s: unknown setting %q; known are %s", source, key.Value, strings.Join(known, ", "))
	}
	if field.secret {
		return fmt.Errorf("%s: %s is a secret and not kept in files: set %s", source, field.Name, field.Env)
	}
	text, err := textOf(value, field.Name == "partitions")
	if err != nil {
		return fmt.Errorf("%s: %s %w", source, field.Name, err)
	}
	if field.Name == "writer" && isCredential(text) {
		return fmt.Errorf("%s: writer is a path here; a credential itself goes into STELE_WRITER or a file of its own", source)
	}
	if field.path && !filepath.IsAbs(text) {
		text = filepath.Join(filepath.Dir(s.Config), filepath.FromSlash(text))
	}
	return s.set(field, text, source)
}

// textOf returns the text of a plain value, or of a list of them.
func textOf(value *yaml.Node, list bool) (string, error) {
	if list && value.Kind == yaml.SequenceNode {
		var all []string
		for _, n := range value.Content {
			text, err := textOf(n, false)
			if err != nil {
				return "", err
			}
			all = append(all, text)
		}
		return strings.Join(all, ","), nil
	}
	switch {
	case value.Kind != yaml.ScalarNode:
		return "", errors.New("is no plain value")
	case value.Tag == "!!null" || value.Value == "":
		return "", errors.New("has no value: give one, or remove the line")
	}
	return value.Value, nil
}

const heading = `# Settings of one Stele archive. A flag wins over the environment, which wins over this file:
#   STELE_CONFIG names this file. 'stele env' shows every setting and where it came from.
# Paths are relative to this file. Secrets do not belong here: credentials of S3 come from AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY or the shared credentials file, those of Kafka from STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD.
`

// Write makes stele.yaml at path with the settings of s that differ from their defaults; the others stand in
// comments. The error wraps fs.ErrExist if the file exists.
func Write(path string, s *Settings) error {
	defaults, err := Load(Options{Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		return err
	}
	defaults.Config = path
	defaults.derive("")
	var b bytes.Buffer
	b.WriteString(heading)
	for _, f := range Fields() {
		value, usual := f.get(s), f.get(defaults)
		if f.Name == "writer" && isCredential(value) {
			return errors.New("a writer credential does not go into stele.yaml, only its path")
		}
		if f.url && location.Redact(value) != value {
			return fmt.Errorf("%s %s holds what is, or may be, a secret; it does not go into stele.yaml", f.Name, location.Redact(value))
		}
		active := value != "" && value != usual && !(f.Name == "from" && value == s.To)
		if !active {
			value = cmp.Or(usual, f.example)
		}
		if f.path && value != f.example {
			value = relative(filepath.Dir(path), value)
		}
		text, err := yaml.Marshal(map[string]string{f.Name: value})
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n# %s\n", f.Help)
		if !active {
			b.WriteString("# ")
		}
		if f.Name == "partitions" {
			text = fmt.Appendf(nil, "partitions: [%s]\n", value)
		}
		b.Write(text)
	}
	return create(path, b.Bytes())
}

// relative returns path as seen from dir, if it lies below.
func relative(dir, path string) string {
	absDir, dirErr := filepath.Abs(dir)
	abs, err := filepath.Abs(path)
	if path == "" || dirErr != nil || err != nil {
		return path
	}
	if rel, err := filepath.Rel(absDir, abs); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return abs
}

func create(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
