package keytrie

import (
	"context"
	"testing"
)

// BenchmarkLoad opens nodes: the inner ones and buckets on the way to one path.
func BenchmarkLoad(b *testing.B) {
	for _, hidden := range []bool{false, true} {
		name, paths, value := "keys", keyPaths(20_000), make([]byte, 100)
		if hidden {
			name, paths, value = "tags", tagPaths(paths), nil
		}
		w := newWorld(hidden, 1)
		var root Root
		w.write(b, func(out *Writer) (err error) {
			root, err = w.Build(out, entries(paths, value))
			return err
		})
		ctx := context.Background()
		var at []Root
		for r := root; ; {
			at = append(at, r)
			_, children, err := w.Open(ctx, r)
			if err != nil {
				b.Fatal(err)
			}
			if len(children) == 0 {
				break
			}
			r = children[len(children)/2]
		}
		for i, r := range []Root{at[len(at)/2], at[len(at)-1]} {
			b.Run(name+[]string{"/inner", "/bucket"}[i], func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := w.Open(ctx, r); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(r.Count), "paths")
			})
		}
	}
}
