package main

import "github.com/spf13/cobra"

const helpSettings = `A setting comes from, in this order: its flag, its environment variable, stele.yaml.

  flag        environment     stele.yaml   what
  --config    STELE_CONFIG                 the path of stele.yaml
  --archive   STELE_ARCHIVE   archive      file:///path or s3://bucket/prefix?endpoint=…&region=…
  --to        STELE_TO        to           where writers send: kafka://host:port/topic or file:///spool
  --from      STELE_FROM      from         where the compactor reads; the same as --to if not set
  --trust     STELE_TRUST     trust        the trust file: public keys, all that an auditor needs
  --writer    STELE_WRITER    writer       a writer credential: its path, or the file itself in base64
  --as        STELE_AS        as           the role directory, or its file, to act as
  --keys                      keys         unix socket of the key service

With STELE_CONFIG set nothing else is needed on one machine. 'stele env' shows each setting and
where it came from.

Secrets never stand in URLs. Those of the store come from the usual AWS places: AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY, or the shared credentials file. Those of Kafka from
STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD.`

const helpExitCodes = `Each verdict on an archive has an exit code of its own. There is no single "passed".

   0  all required verdicts hold
   1  the command could not finish
   2  the command line makes no sense
   3  some input was refused, the rest went in; 'stele check': this is no file for it, or a damaged one
  10  integrity is false: something was changed
  11  incomplete: something is missing, or loss was declared and not acknowledged
  12  anchoring is false
  13  WORM is false: the store does not hold what it should
  14  erasure is false
  15  unreadable: a record does not open, or is not what was captured; 'stele recover status': a
      root record is lost, or no custodian opens the key store

The lowest of 10 and up wins. With --json, "exits" lists all.

What was not checked is printed as unchecked. It does not fail, unless --require names it.
Sampling is printed and fails nothing. Declared loss counts as incomplete until somebody
acknowledges it: 'stele audit ack STREAM --reason TEXT'.`

// helpTopics are pages of help that belong to no verb.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "settings", Short: "Where settings come from", Long: helpSettings},
		{Use: "exit-codes", Short: "What exit codes mean", Long: helpExitCodes},
	}
}
