package cli

import (
	"crypto/rand"
	"math/big"
	"strings"
)

const (
	adjectives = `amber ample brave brisk bright calm careful cheerful clear clever cool coral crisp curious dapper eager early easy
elastic fair fancy fast fine fluent fond frank free fresh gentle gifted glad golden good grand green happy hardy honest jolly keen
kind lively loyal lucid lucky merry mild modest neat nimble noble olive patient plain polite proud quick quiet ready rich ripe
rosy sharp silver sincere smart snowy solid steady sunny swift tender tidy upbeat vivid warm willing wise witty young zesty`
	nouns = `anchor apple arch atlas bay beacon bean berry bird boat bolt bridge brook cabin canal candle cedar cherry cliff cloud
clover coast comet cork cove creek crow cypress dawn delta dune eagle elm ember fern field finch fjord flute forest fox garden gull
harbor hawk heron hill island ivy jar jetty kettle kite lagoon lake lamp lantern leaf lemon lime linen maple meadow mill moon
moss oak oar olive onion orchard otter owl parcel path pear pine planet plum pond quay rain raven reef ridge river rope sail`
	alphabet = "bcdfghjklmnpqrstvwxyz0123456789"
)

// generateName makes a job name like the reference's: adjective_noun_ and ten random characters.
func generateName() string {
	suffix := make([]byte, 10)
	for i := range suffix {
		suffix[i] = alphabet[pick(len(alphabet))]
	}
	adj, noun := strings.Fields(adjectives), strings.Fields(nouns)
	return adj[pick(len(adj))] + "_" + noun[pick(len(noun))] + "_" + string(suffix)
}

func pick(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic("cli: the system has no randomness: " + err.Error())
	}
	return int(i.Int64())
}
