// The migration guide's Go code as one program, for tests:
//
//	guide migrate    apply the migrations in ./migrations/postgres to the database at DATABASE_URL
//	guide init       create the collection at QDRANT_GRPC_PORT
//	guide insert     read rows as JSON from stdin, write each as a point, and print its id
//	guide search     read searches as JSON from stdin, and print the ids of the points that each finds, on one line
package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"

	_ "github.com/lib/pq"
	"github.com/qdrant/go-client/qdrant"
)

type row struct {
	UserID    string                 `json:"user_id"`
	Embedding []float32              `json:"embedding"`
	Payload   map[string]interface{} `json:"payload"`
}

type search struct {
	Vector  []float32              `json:"vector"`
	Filters map[string]interface{} `json:"filters"`
	Limit   uint64                 `json:"limit"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: guide migrate|init|insert|search")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(command string) error {
	if command == "migrate" {
		db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
		if err != nil {
			return err
		}
		return RunMigrations(db)
	}
	client, err := connect()
	if err != nil {
		return err
	}
	defer client.Close()
	switch command {
	case "init":
		return InitQdrantCollections(client)
	case "insert":
		return eachLine(func(one row) error {
			if err := InsertProfileEmbedding(client, one.UserID, one.Embedding, typed(one.Payload).(map[string]interface{})); err != nil {
				return err
			}
			_, err := fmt.Println(one.UserID)
			return err
		})
	case "search":
		return eachLine(func(one search) error {
			found, err := SearchSimilarProfiles(client, one.Vector, one.Filters, one.Limit)
			if err != nil {
				return err
			}
			ids := make([]string, len(found))
			for index, point := range found {
				ids[index] = point.GetId().GetUuid()
			}
			_, err = fmt.Println(strings.Join(ids, " "))
			return err
		})
	}
	return fmt.Errorf("no command %q", command)
}

func connect() (*qdrant.Client, error) {
	port, err := strconv.Atoi(os.Getenv("QDRANT_GRPC_PORT"))
	if err != nil {
		return nil, err
	}
	return qdrant.NewClient(&qdrant.Config{
		Host: "127.0.0.1", // guide: localhost
		Port: port,        // guide: 6333, which is the port of REST
	})
}

// eachLine calls work for each JSON value of stdin. Numbers of type interface{} are json.Number.
func eachLine[T any](work func(T) error) error {
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	decoder.UseNumber()
	for {
		var one T
		if err := decoder.Decode(&one); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := work(one); err != nil {
			return err
		}
	}
}

// typed returns the value with int64 and float64 for each json.Number, as a service has them.
func typed(value interface{}) interface{} {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		fraction, _ := value.Float64()
		return fraction
	case map[string]interface{}:
		for key, one := range value {
			value[key] = typed(one)
		}
	case []interface{}:
		for index, one := range value {
			value[index] = typed(one)
		}
	}
	return value
}
