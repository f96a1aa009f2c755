package evidence

import "encoding/hex"

// dictionaryText is what most files have in common. It is a part of the format, and stands in its page.
const dictionaryText = `{"cause":"request","requests":[{"request":"","erased":1}],"from":1,"to":2,"before":{"n":1,"hash":""},"root":{"n":2,"hash":""},"control":
"list":"","paths":"","scopes":1,"removed":1,"spent":1,"custody":[{"custodian":"default","generation":1,"class":"","destroyed":"20
","irrecoverable":"","statement":""}],"watermark":2,"archive":"","transport":"20","single":true,"open":["best-effort default"]}}
{"stele":"keyroot/v1","prev":"","n":"by":"control":"generation":1,"folded":{"cluster":"","topic":"","lanes":{"":{"next":"last":""}}},"live":
"commitment":"","next_pack":"runs":[{"count":"hash":"","keys":[],"index":[],"packs":[]}],"packs":[{"n":"sha256":"","size":}],"salt":"","sealed":""
{"what":"erase","until":"","urgent":false,"select":{"kind":"subject","salted":"","week":"sealed":""}}} approver holder reader keyservice writer
{"stele":"entry/v1","type":"request","archive":"","time":"20","by":"/approver/","body":{"request":""}}
"type":"approve","type":"erased","by":"/keyservice/keys","type":"destroyed","type":"policy","body":{"version":1,"classes":[{"name":"","key":"
default chat gpt-4 claude-
c2sp.org/tlog-proof@v1
index 1
/control
stele logpipe/1
compactor /compactor/default+
writer default 
"}}

— /root 
— /compactor/default 
heads","archive":"
","time":"
","by":"/root","body":{"version":1,"names":1,"root":"
","by":"/compactor/default","body":{"heads":[{"log":"/0/202Q1","commit":1,"hash":"","checkpoint":"
"}],"roster":"
{"stele":"entry/v1","type":"roster","archive":"`

// dictionary is what packing takes for known. Its end is the header of a frame of one record.
func dictionary(archive [16]byte) []byte {
	d := append(hex.AppendEncode([]byte(dictionaryText), archive[:]), "STLF\x01\x00\x00\x00"...)
	return append(append(d, archive[:]...), 0, 0, 0, 0, 1, 0, 0, 0)
}
