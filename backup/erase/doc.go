// Package erase is for the people behind two-person control: who asks that something be erased, who approves it, who
// places holds, who changes the access policy. What they say is signed with their own key, and left in the archive's
// inbox for a compactor to sequence; what follows from it is in docs/formats/control.md. Nothing here destroys a key: that
// is the key service's work, once two have approved.
package erase
