// The program of the migration guide that creates the collection (backend/migrations/qdrant/init.go). A comment "guide:" says what the guide has
// in a line that does not compile, or does not work, with the current client.

package main

import (
	"context"
	"log"

	"github.com/qdrant/go-client/qdrant"
)

func InitQdrantCollections(client *qdrant.Client) error {
	ctx := context.Background()

	// Create profile embeddings collection
	err := client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName: "profile_embeddings",
		VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{ // guide: &qdrant.VectorsConfig{Params: &qdrant.VectorParams{
			Size:     512,
			Distance: qdrant.Distance_Cosine,
		}),
		OptimizersConfig: &qdrant.OptimizersConfigDiff{
			IndexingThreshold: qdrant.PtrOf(uint64(10000)),
		},
		HnswConfig: &qdrant.HnswConfigDiff{
			M:                 qdrant.PtrOf(uint64(16)),
			EfConstruct:       qdrant.PtrOf(uint64(100)),
			FullScanThreshold: qdrant.PtrOf(uint64(10000)),
		},
	})

	if err != nil {
		return err
	}

	// Create payload index for filtering
	_, err = client.CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{ // guide: err =
		CollectionName: "profile_embeddings",
		FieldName:      "gender",
		FieldType:      qdrant.FieldType_FieldTypeKeyword.Enum(), // guide: without Enum()
	})

	if err != nil {
		return err
	}

	// Additional indexes
	indexes := []struct {
		field string
		ftype qdrant.FieldType
	}{
		{"age", qdrant.FieldType_FieldTypeInteger},
		{"age_group", qdrant.FieldType_FieldTypeKeyword},
		{"active", qdrant.FieldType_FieldTypeBool},
		{"verified", qdrant.FieldType_FieldTypeBool},
		{"location", qdrant.FieldType_FieldTypeGeo},
	}

	for _, idx := range indexes {
		_, err = client.CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{ // guide: err =
			CollectionName: "profile_embeddings",
			FieldName:      idx.field,
			FieldType:      idx.ftype.Enum(), // guide: without Enum()
		})
		if err != nil {
			log.Printf("Warning: Failed to create index for %s: %v", idx.field, err)
		}
	}

	return nil
}
